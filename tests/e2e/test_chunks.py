"""Chunks: what a device with an older target fetches. Zstandard's own library judges the chunks."""

import hashlib
import json
import random
import struct
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from .device import sha256
from .folder import FolderForm
from .form import DONE, Form, one_line_error
from .http_client import Answer, ask
from .polling import until
from .static_server import StaticServer
from .test_mirror import Mirror
from .variant import Variant

ON = "chunks = true\n"


def image(seed: int, length: int = 400_000) -> bytes:
    """Bytes like a disk's image: some repeat, some don't, and some are empty."""
    noise = random.Random(seed)
    text = b"".join(b"%d is a number, " % noise.randrange(100_000) for _ in range(length // 40))
    return (text + noise.randbytes(length // 4) + bytes(length))[:length]


def urls(form_or_mirror: Form | Mirror, name: str, data: bytes) -> list[str]:
    """The URLs of a target's chunks, with the digest in front of the name's last part, or in front
    of the whole name."""
    targets = form_or_mirror.endpoints["targets_url"]
    folder, _, file = name.rpartition("/")
    paths = {f"{folder}/{sha256(data)}.{file}".lstrip("/"), f"{sha256(data)}.{name}"}
    return [urllib.parse.urljoin(targets, f"../chunks/{urllib.parse.quote(path)}") for path in sorted(paths)]


def unpacked(stored: bytes, blob: bytes) -> list[tuple[int, int, int]]:
    """The offset, packed length and length of each chunk, after all checks, by the format in
    docs/chunks.md."""
    magic, digest, length, average, count = struct.unpack_from("<8s32sQII", stored)
    assert (magic, digest, length) == (b"tufchnk1", hashlib.sha256(blob).digest(), len(blob))
    assert 4096 <= average <= 65_536 and count <= 65_536
    end = 56 + 22 * count
    assert stored[end : end + 16] == hashlib.sha256(stored[:end]).digest()[:16]
    at, plain, chunks = end + 16, 0, []
    for index in range(count):
        entry = stored[56 + 22 * index : 78 + 22 * index]
        size, packed = (int.from_bytes(entry[begin : begin + 3], "little") for begin in (16, 19))
        frame = stored[at : at + packed]
        parameters = zstandard.get_frame_parameters(frame)
        assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (size, False, 0)
        history = zstandard.ZstdCompressionDict(blob[max(0, plain - 32_768) : plain], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        chunk = zstandard.ZstdDecompressor(dict_data=history if plain else None).decompress(frame)
        assert chunk == blob[plain : plain + size]
        assert entry[:16] == hashlib.sha256(chunk).digest()[:16]
        assert size <= 4 * average and (4 * size >= average or index == count - 1)
        chunks.append((at, packed, size))
        at, plain = at + packed, plain + size
    assert (at, plain) == (len(stored), len(blob))
    return chunks


def chunks_at(url: str) -> Answer:
    def there() -> Answer | None:
        answer = ask(url)
        return answer if answer.status == 200 else None

    return until("cut", there, 120)


@pytest.fixture
def cutting(make_folder: Callable[..., FolderForm]) -> FolderForm:
    return make_folder(config=ON).start()


def test_a_target_has_chunks_under_its_own_path(cutting: FolderForm):
    name, data = "gateway/v2/system.img", image(1)
    cutting.put(name, data)
    cutting.wait_published({name: sha256(data)})
    for url in urls(cutting, name, data):
        answer = chunks_at(url)
        assert answer.header("cache-control") == "public, max-age=31536000, immutable"
        assert answer.header("accept-ranges") == "bytes" and answer.header("content-encoding") == ""
        chunks = unpacked(answer.body, data)
        assert len(chunks) > 5 and len(answer.body) < len(data)
        head = ask(url, "HEAD")
        assert (head.status, head.header("content-length"), head.body) == (200, str(len(answer.body)), b"")
        for at, packed, _ in (chunks[0], chunks[-1], chunks[2]):
            part = ask(url, headers={"Range": f"bytes={at}-{at + packed - 1}"})
            assert (part.status, part.body) == (206, answer.body[at : at + packed])
            assert part.header("content-range") == f"bytes {at}-{at + packed - 1}/{len(answer.body)}"
        beyond = ask(url, headers={"Range": f"bytes={len(answer.body)}-"})
        assert beyond.status == 416


def test_another_version_shares_most_chunks(cutting: FolderForm):
    old, middle = image(2), b"something that the older one doesn't have"
    new = old[:150_000] + middle + old[150_000:]
    lists = []
    for name, data in (("old.img", old), ("new.img", new)):
        cutting.put(name, data)
        stored = chunks_at(urls(cutting, name, data)[0]).body
        count = len(unpacked(stored, data))
        lists.append([stored[56 + 22 * index : 72 + 22 * index] for index in range(count)])
    assert 0 < len(set(lists[1]) - set(lists[0])) <= 3


def test_what_is_short_has_none_and_what_is_missing_may_come_soon(cutting: FolderForm):
    data = bytes(64 * 1024 - 1)
    cutting.put("short.bin", data)
    cutting.put("long.bin", image(3))
    chunks_at(urls(cutting, "long.bin", image(3))[0])
    for url in urls(cutting, "short.bin", data) + urls(cutting, "no.bin", b"no"):
        answer = ask(url)
        assert (answer.status, answer.header("cache-control")) == (404, "max-age=60")


def test_who_turns_it_on_later_gets_chunks_of_what_is_published(make_folder: Callable[..., FolderForm]):
    form = make_folder().start()
    name, data = "gateway/system.img", image(4)
    form.put(name, data)
    form.wait_published({name: sha256(data)})
    url = urls(form, name, data)[0]
    assert ask(url).status == 404
    assert "chunks = true" in one_line_error(form.tufline("chunk"))
    form.stop()
    config = form.data / "config.toml"
    config.write_text(ON + config.read_text())
    form.start()
    unpacked(chunks_at(url).body, data)
    # Lost chunks are made again on request.
    [stored] = (form.data / "repository" / "chunks").iterdir()
    stored.unlink()
    done = form.tufline("chunk", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (DONE, {"outcome": "asked", "targets": 1}), done.stderr
    unpacked(chunks_at(url).body, data)
    done = form.tufline("chunk")
    assert done.stdout == "0 targets will be cut\n"


def test_a_process_that_is_killed_while_it_cuts_leaves_nothing_but_what_the_next_start_removes(cutting: FolderForm):
    name, data = "large.img", image(5, 6 << 20)
    cutting.put(name, data)
    until("being cut", lambda: being_cut(cutting), 60, 0.002)
    cutting.kill()
    left = being_cut(cutting)
    stored = cutting.data / "repository" / "chunks" / sha256(data)
    assert not stored.exists()
    assert left, "it was killed while it cut"
    cutting.start()
    cutting.wait_published({name: sha256(data)})
    unpacked(chunks_at(urls(cutting, name, data)[0]).body, data)
    assert not being_cut(cutting)


def being_cut(form: FolderForm) -> list[Path]:
    """The files in which chunks are made now."""
    return list((form.data / "tmp").glob("chunks.*"))


def test_nothing_waits_for_chunks_and_a_stop_neither(cutting: FolderForm):
    cutting.put("large.img", image(6, 6 << 20))
    until("being cut", lambda: being_cut(cutting), 60, 0.002)
    cutting.put("small.bin", b"small")
    cutting.wait_published({"small.bin": sha256(b"small")})
    assert cutting.stop() == 0


def test_a_mirror_has_the_chunks_too(cutting: FolderForm, tmp_path: Path):
    files = {"gateway/v2/system.img": image(7), "system.img": image(8), "short.bin": b"short"}
    for name, data in files.items():
        cutting.put(name, data)
    cutting.wait_published({name: sha256(data) for name, data in files.items()})
    cut = [name for name in files if name.endswith(".img")]
    for name in cut:
        chunks_at(urls(cutting, name, files[name])[0])
    place = tmp_path / "mirror"
    place.mkdir()
    with StaticServer(place) as server:
        mirror = Mirror(cutting, tmp_path, server, place)
        assert mirror.write()["chunks"] == 0
        assert not (place / "chunks").exists(), "only where somebody wants them"
        assert mirror.write("--chunks")["chunks"] == 2
        assert mirror.write("--chunks")["chunks"] == 0
        # Damaged chunks are made again, and those of another target are left out.
        damaged = place / "chunks" / f"{sha256(files['system.img'])}.system.img"
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert mirror.write("--chunks", "--check")["chunks"] == 1
        cutting.stop()
        for name in cut:
            for url in urls(mirror, name, files[name]):
                unpacked(ask(url).body, files[name])
        cutting.start()
        cutting.remove("system.img")
        cutting.wait_published({"system.img": None})
        mirror.write("--chunks", "--prune")
        assert not damaged.exists()
        assert ask(urls(mirror, "gateway/v2/system.img", files["gateway/v2/system.img"])[0]).status == 200


def test_a_mirror_leaves_out_chunks_of_something_else(cutting: FolderForm, tmp_path: Path):
    name, data = "system.img", image(9)
    cutting.put(name, data)
    cutting.wait_published({name: sha256(data)})
    chunks_at(urls(cutting, name, data)[0])
    stored = cutting.data / "repository" / "chunks" / sha256(data)
    stored.write_bytes(b"tufchnk1" + bytes(100))
    done = cutting.tufline("mirror", tmp_path / "copy", "--chunks")
    assert done.returncode == DONE and "belong to another target" in done.stderr
    assert not (tmp_path / "copy" / "chunks").exists()
    assert (tmp_path / "copy" / "targets" / f"{sha256(data)}.{name}").read_bytes() == data


@pytest.fixture
def cutting_cloud(deploy: Callable[..., Variant]) -> Variant:
    return deploy("Chunks", {"access": "open", "chunks": "true"})


@pytest.mark.emulator
def test_on_aws_a_function_cuts_and_one_link_is_for_all_parts(cutting_cloud: Variant):
    name, data = f"{cutting_cloud.unique('gateway')}/system.img", image(10, 1_500_000)
    cutting_cloud.put(name, data)
    cutting_cloud.wait_published({name: sha256(data)})
    [by_file, by_path] = urls(cutting_cloud, name, data)

    def link() -> str | None:
        answer = ask(by_file, headers={"Range": "bytes=0-55"})
        return answer.header("location") if answer.status == 307 else None

    found = until("cut", link, 120)
    assert "/chunks/" in found and ask(by_path).status == 307
    stored = ask(found).body
    chunks = unpacked(stored, data)
    for at, packed, _ in (chunks[1], chunks[-1]):
        part = ask(found, headers={"Range": f"bytes={at}-{at + packed - 1}"})
        assert (part.status, part.body) == (206, stored[at : at + packed])
    head = ask(by_file, "HEAD")
    assert (head.status, head.header("content-length")) == (200, str(len(stored)))
    done = cutting_cloud.tufline("chunk", "--json", operator=True)
    assert (done.returncode, json.loads(done.stdout)["targets"]) == (DONE, 0), done.stderr
    # A request does the same as S3's event.
    cutting_cloud.send("chunk", json.dumps({"format": 1, "chunk": [sha256(data)]}))
    until("worked off", lambda: cutting_cloud.waiting(cutting_cloud.queue("chunk")) == 0, 60)
    assert cutting_cloud.waiting(cutting_cloud.queue("chunk", dead_letters=True)) == 0
