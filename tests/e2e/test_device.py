"""`tufline-device` as people use it, on both forms, compared with python-tuf."""

import itertools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import Updater, UpdaterConfig

from .delegation_shapes import Shape
from .device import sha256
from .device_program import DeviceProgram
from .folder import FolderForm
from .form import Form
from .static_server import StaticServer


@pytest.fixture
def device_of(tmp_path: Path) -> Callable[..., DeviceProgram]:
    """Makes devices of a form."""
    numbers = itertools.count()

    def make(form: Form, settings: str = "") -> DeviceProgram:
        points = form.endpoints
        folder = tmp_path / f"device-{next(numbers)}"
        return DeviceProgram(folder, Path(points["trusted_root"]), points["metadata_url"], points["targets_url"], settings)

    return make


def test_a_device_gets_what_was_published_and_keeps_what_was_served(folder: FolderForm, device_of, tmp_path: Path):
    name, out = f"{folder.unique('gateway')}/firmware.bin", tmp_path / "firmware.bin"
    device = device_of(folder)
    for data in (os.urandom(3_000_000), b"", b"short"):
        folder.put(name, data)
        folder.wait_published({name: sha256(data)})
        [found] = device.answer("check", name)["targets"]
        assert (found["digest"], found["length"]) == (sha256(data), len(data))
        assert device.fetch(name, out)["received"] == len(data)
        assert out.read_bytes() == data
        assert device.fetch(name, out)["received"] == 0, "what is there is not fetched again"
    reference = folder.device()
    reference.update()
    for role in ("timestamp", "snapshot", "targets"):
        assert device.stored()[f"{role}.json"] == (reference.metadata / f"{role}.json").read_bytes()
    assert sorted(path.name for path in tmp_path.glob(".*")) == [], "nothing is left beside the target"
    folder.remove(name)
    folder.wait_published({name: None})
    assert device.failure("fetch", name, "--out", out)["kind"] == "no-such-target"
    assert out.read_bytes() == b"short", "what a failed fetch leaves is what was there"


def test_what_is_not_understood_is_told(folder: FolderForm, device_of, tmp_path: Path):
    device = device_of(folder)
    for arguments in ([], ["fetch", "a"], ["refresh", "x"], ["reboot"], ["check"], ["--metadata-ur", "x", "refresh"]):
        told = device.run(*arguments)
        assert told.returncode == 2 and told.stderr.count("\n") == 1, told
        assert "--help" in told.stderr
    (tmp_path / "no-root.json").write_bytes(b"{}")
    assert device.failure("init", tmp_path / "no-root.json")["kind"] == "refused"
    assert device.failure("init", tmp_path / "nothing.json")["kind"] == "file"


def test_a_root_of_another_repository_is_no_root_of_this_one(make_folder, device_of, tmp_path: Path):
    one, other = make_folder().start(), make_folder().start()
    device = device_of(one)
    device.answer("refresh")
    kept = device.stored()
    told = device.failure("init", other.endpoints["trusted_root"])
    assert told["kind"] == "settings" and "version 1" in told["error"]
    assert device.stored() == kept
    assert device.answer("init", one.endpoints["trusted_root"]) == {"root": 1}, "the same root again changes nothing"


@pytest.mark.parametrize("seed", range(int(os.environ.get("TUFLINE_SHAPES", "12"))))
def test_a_search_goes_as_python_tuf_goes(tmp_path: Path, seed: int):
    """All shapes of delegation: the same target or none, and the same documents in the same
    order."""
    shape = Shape(tmp_path / "repository", random.Random(seed))
    root = tmp_path / "repository" / "metadata" / "1.root.json"
    with StaticServer(tmp_path / "repository") as server:
        for number, name in enumerate(shape.names):
            reference = _by_python_tuf(tmp_path / f"reference-{number}", root, server.url, name)
            expected, server.asked[:] = list(server.asked), []
            device = DeviceProgram(tmp_path / f"device-{number}", root, f"{server.url}metadata")
            told = device.run("check", name)
            assert _by_tufline_device(told.stdout) == reference, (seed, name, told)
            assert server.asked == expected, (seed, name)
            server.asked[:] = []
            # With the stored state the answer is the same, without a request for a targets role.
            assert device.run("check", name).stdout == told.stdout
            if told.returncode == 0:
                # The server records a missing file twice.
                assert list(dict.fromkeys(server.asked)) == ["/metadata/2.root.json", "/metadata/timestamp.json"]
            server.asked[:] = []


def _by_python_tuf(folder: Path, root: Path, url: str, name: str) -> str:
    """The digest of the target, or the reason why there is none."""
    for made in (folder, folder / "targets"):
        made.mkdir()
    updater = Updater(
        str(folder), f"{url}metadata", str(folder / "targets"), bootstrap=root.read_bytes(), config=UpdaterConfig(max_delegations=32)
    )
    try:
        info = updater.get_targetinfo(name)
    except (RepositoryError, DownloadHTTPError):
        return "refused"
    return info.hashes["sha256"] if info else "none"


def _by_tufline_device(answer: str) -> str:
    told = json.loads(answer)
    match told.get("kind"):
        case None:
            return told["targets"][0]["digest"]
        case "no-such-target":
            return "none"
        case "refused" | "missing":
            return "refused"
        case other:
            raise AssertionError(other)
