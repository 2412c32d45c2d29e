"""Packs: everything that a device needs in one answer, on both forms. Zstandard's own library
judges the packs."""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import zstandard
from cloud_lib import ROOT

from .device import sha256
from .device_program import NOWHERE, DeviceProgram
from .form import DONE, Form
from .http_client import Answer, ask

# The tables in front of the files in each dictionary.
TABLES = (ROOT / "shared/pack/src/tables.bin").read_bytes()


def device_without_names(form: Form, folder: Path, settings: str = "") -> DeviceProgram:
    """A device that can ask for packs, and for nothing by name."""
    lines = f"pack-url = '{form.endpoints['pack_url']}'\ntries = 1\n{settings}"
    return DeviceProgram(folder, Path(form.endpoints["trusted_root"]), NOWHERE, NOWHERE, lines)


def in_pack(pack: bytes, dictionary: list[bytes] | None = None) -> dict[str, bytes | None]:
    """The content of a pack; `None` for a file that is absent, or that the device has already."""
    known = zstandard.ZstdCompressionDict(TABLES + b"".join(dictionary)) if dictionary else None
    bytes_left = zstandard.ZstdDecompressor(dict_data=known).decompress(pack)
    found = {}
    while bytes_left:
        line, _, rest = bytes_left.partition(b"\n")
        kind, length, path = re.fullmatch(r"([maktk]) (\d+) (\S+)", line.decode()).groups()
        found[path] = rest[: int(length)] if kind in "mt" else None
        bytes_left = rest[int(length) :]
    return found


def pack(form: Form, query: str, **options) -> Answer:
    return ask(f"{form.endpoints['pack_url']}?{query}", **options)


def test_one_answer_is_all_that_a_device_asks_for(form: Form, tmp_path: Path):
    name, other = f"{form.unique('gateway')}/settings.json", f"{form.unique('camera')}/large.bin"
    device, out = device_without_names(form, tmp_path / "device"), tmp_path / "out"
    for data in (b"1", b"22"):
        form.put(name, data)
        form.put(other, os.urandom(20_000))
        form.wait_published({name: sha256(data)})
        [found] = device.answer("check", name)["targets"]
        assert (found["digest"], found["length"]) == (sha256(data), len(data))
        assert device.answer("check", name)["targets"] == [found], "nothing has changed"
    # The target's bytes come along if they are few, and if the device lacks the document that lists
    # them.
    form.put(name, b"333")
    form.wait_published({name: sha256(b"333")})
    assert device.fetch(name, out)["received"] == 3
    assert out.read_bytes() == b"333"
    reference = form.device()
    reference.update()
    for role in ("timestamp", "snapshot", "targets"):
        assert device.stored()[f"{role}.json"] == (reference.metadata / f"{role}.json").read_bytes()
    assert device.failure("fetch", other, "--out", out)["kind"] == "network", "what is large comes by its name"
    # And a new device.
    new = device_without_names(form, tmp_path / "new")
    assert new.answer("check", name)["targets"][0]["digest"] == sha256(b"333")


def test_what_is_in_a_pack_is_what_is_answered_by_name(form: Form):
    name = f"{form.unique('gateway')}/settings.json"
    form.put(name, b"{}")
    form.wait_published({name: sha256(b"{}")})
    by_name = lambda path: ask(f"{form.endpoints['metadata_url']}{path}").body  # noqa: E731
    prefix = hashlib.sha256(name.encode()).hexdigest()[:8]
    answer = pack(form, f"have=1.root&roles={prefix}&files={quote(name, safe='')}")
    assert (answer.status, answer.header("content-type")) == (200, "application/zstd")
    assert answer.header("cache-control") == "public, max-age=5"
    found = in_pack(answer.body)
    # Others publish meanwhile: files with a version in their name stay.
    metadata = {path: bytes for path, bytes in found.items() if path.endswith(".json") and path[0].isdigit() and bytes is not None}
    assert any("snapshot" in path for path in metadata) and any("targets" in path for path in metadata)
    for path, bytes in metadata.items():
        if not path.endswith("settings.json"):
            assert by_name(path) == bytes, path
    assert found[f"{name.rpartition('/')[0]}/{sha256(b'{}')}.settings.json"] == b"{}"
    assert [path for path, bytes in found.items() if bytes is None] == ["2.root.json"]

    # The same device asks again, and tells the server what it has.
    has = ["1.root.json", *(path for path in metadata if not path.endswith("settings.json"))]
    files = [by_name(path) for path in has]
    have = ",".join(path.removesuffix(".json") for path in has)
    dict_ = hashlib.sha256(b"".join(files)).hexdigest()[:16]
    form.put(f"{name}.other", b"{}")
    form.wait_published({f"{name}.other": sha256(b"{}")})
    known = pack(form, f"have={have}&dict={dict_}&roles={prefix}")
    again = in_pack(known.body, files)
    assert len(known.body) < len(answer.body), "what it has is not sent again"
    assert json.loads(again["timestamp.json"])["signed"]["_type"] == "timestamp"
    wrong = pack(form, f"have={have}&dict={'0' * 16}&roles={prefix}")
    assert in_pack(wrong.body).keys() >= again.keys(), "whose dictionary is another gets all of it"
    newest = json.loads(again["timestamp.json"])["signed"]["version"]
    ahead = pack(form, f"have=1.root,{newest + 1000}.timestamp")
    assert (ahead.status, ahead.body, ahead.header("cache-control")) == (204, b"", "no-store")
    for query, status in (("have=root", 400), ("have=1.root&have=1.root", 400), (f"files={'a,' * 9}a", 400)):
        assert pack(form, query).status == status, query


def test_a_repository_without_packs_works_as_before(form: Form, tmp_path: Path):
    name, out = f"{form.unique('gateway')}/firmware.bin", tmp_path / "out"
    form.put(name, b"firmware")
    form.wait_published({name: sha256(b"firmware")})
    points = form.endpoints
    for number, url in enumerate((f"{points['metadata_url']}pack", NOWHERE)):
        device = DeviceProgram(
            tmp_path / str(number), Path(points["trusted_root"]), points["metadata_url"], points["targets_url"], f"pack-url = '{url}'"
        )
        done: subprocess.CompletedProcess = device.run("fetch", name, "--out", out)
        assert done.returncode == DONE and out.read_bytes() == b"firmware"
        assert "one by one" in done.stderr and done.stderr.count("\n") == 1, "somebody must notice that packs don't come"
        out.unlink()
