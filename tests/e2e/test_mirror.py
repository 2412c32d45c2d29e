"""`tufline mirror`: a plain copy of a repository, from which real clients update without the
repository."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .device import Device, sha256
from .folder import FolderForm
from .foreign import ForeignRepository
from .form import DONE, MISUSED, TUFLINE, Form, one_line_error, run
from .static_server import StaticServer
from .tuf_js import TufJsDevice

# Names in a folder have two paths with consistent snapshots, so both kinds are here.
FILES = {"fw.bin": b"one" * 1000, "gateway/v2/fw.bin": b"two" * 2000, "empty.bin": b""}


class Mirror:
    """A copy in a folder, behind a plain web server."""

    def __init__(self, form: Form, scratch: Path, server: StaticServer, folder: Path) -> None:
        self.form = form
        self.scratch = scratch
        self.folder = folder
        self.root = form.endpoints["trusted_root"]
        self.urls = {"metadata_url": f"{server.url}metadata/", "targets_url": f"{server.url}targets/"}
        self.endpoints = {"trusted_root": self.root, **self.urls}
        self.devices = 0

    def write(self, *arguments: object) -> dict:
        """Runs the command, and returns its answer."""
        done = self.form.tufline("mirror", self.folder, "--json", *arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return json.loads(done.stdout)["counts"]

    def refused(self, *arguments: object) -> str:
        return one_line_error(self.form.tufline("mirror", self.folder, *arguments))

    def new(self, kind: type) -> Device | TufJsDevice:
        """A device that knows only the mirror."""
        self.devices += 1
        folder = self.scratch / f"device-{self.devices}"
        folder.mkdir()
        return kind(self.endpoints, folder)

    def timestamp(self) -> int:
        return json.loads((self.folder / "metadata" / "timestamp.json").read_text())["signed"]["version"]

    def serves(self, files: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
        """Checks that new devices of all kinds find and download `files`, and none of `gone`."""
        for kind in (Device, TufJsDevice):
            device = self.new(kind)
            expected = {name: sha256(data) for name, data in files.items()} | dict.fromkeys(gone)
            assert device.find(expected) == expected
            for name, data in files.items():
                assert device.download_bytes(name) == data
        self.serves_tough(files)

    def serves_tough(self, files: dict[str, bytes]) -> None:
        """tough is inside `tufline wait`, which here asks the mirror in place of the repository."""
        file = self.scratch / "endpoints.json"
        file.write_text(json.dumps({**self.form.endpoints, **self.urls}))
        digests = {name: sha256(data) for name, data in files.items()}
        for name, digest in digests.items():
            done = run("wait", name, "--sha256", digest, "--timeout", 10, "--endpoints", file)
            assert done.returncode == DONE, (done.stdout, done.stderr)
            url = self.urls["targets_url"] + urllib.parse.quote(f"{digest}.{name}")
            with urllib.request.urlopen(url) as answer:
                assert answer.read() == files[name]

    def state(self) -> dict[str, int]:
        """When each file was written."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in files}

    def target(self, name: str, data: bytes) -> Path:
        """The path at which python-tuf finds a target."""
        path = self.folder / "targets" / name
        return path.with_name(f"{sha256(data)}.{path.name}")


@contextlib.contextmanager
def mirror_of(form: Form, files: dict[str, bytes], scratch: Path) -> Iterator[Mirror]:
    """A served folder for the copy of a repository that has these files."""
    for name, data in files.items():
        form.put(name, data)
    form.wait_published({name: sha256(data) for name, data in files.items()})
    place = scratch / "mirror"
    place.mkdir()
    with StaticServer(place) as server:
        yield Mirror(form, scratch, server, place)


@pytest.fixture
def mirror(folder: FolderForm, tmp_path: Path):
    with mirror_of(folder, FILES, tmp_path) as mirror:
        yield mirror


def test_clients_use_the_copy_while_the_repository_is_away(mirror: Mirror):
    counts = mirror.write()
    assert (counts["targets"], counts["new"], counts["removed"]) == (3, 3, 0)
    assert counts["bytes"] == sum(map(len, FILES.values()))
    mirror.serves_tough(FILES)
    mirror.form.stop()
    mirror.serves(FILES)


def test_a_second_run_downloads_only_what_is_missing(mirror: Mirror):
    mirror.write()
    old = mirror.new(Device)
    old.update()
    before = mirror.state()
    assert mirror.write()["new"] == 0
    # The timestamp may have been signed again.
    changed = {file for file, when in mirror.state().items() if before.get(file) != when}
    assert changed <= {"metadata/timestamp.json"}

    mirror.form.put("new.bin", b"new")
    mirror.form.put("fw.bin", b"other")
    files = FILES | {"new.bin": b"new", "fw.bin": b"other"}
    mirror.form.wait_published({name: sha256(data) for name, data in files.items()})
    counts = mirror.write()
    assert (counts["new"], counts["bytes"]) == (2, len(b"new") + len(b"other"))
    assert before.keys() <= mirror.state().keys(), "something was removed that nobody asked to remove"
    mirror.serves(files)
    assert old.download_bytes("fw.bin") == b"other"

    # Files that are no longer listed are removed only on request, and files that aren't the
    # mirror's stay.
    stranger = mirror.folder / "targets" / "README"
    stranger.write_text("by hand")
    assert mirror.write("--prune")["removed"] >= 1
    assert not mirror.target("fw.bin", FILES["fw.bin"]).exists()
    assert stranger.exists()
    assert (mirror.folder / "metadata" / "1.root.json").exists()
    mirror.serves(files)
    assert old.download_bytes("new.bin") == b"new"


def test_an_interrupted_run_leaves_a_copy_that_works(mirror: Mirror):
    mirror.write()
    noise = random.Random(1)
    files = {f"many/{number}.bin": noise.randbytes(200_000) for number in range(60)} | {"fw.bin": b"after"}
    for name, data in files.items():
        mirror.form.put(name, data)
    mirror.form.wait_published({name: sha256(data) for name, data in files.items()})
    timestamp, partial, attempts = mirror.timestamp(), 0, 0
    while mirror.timestamp() == timestamp and attempts < 40:
        attempts += 1
        command = [TUFLINE, "mirror", mirror.folder, *mirror.form.connection(operator=False)]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.02 * attempts)
        process.send_signal(signal.SIGKILL)
        process.wait()
        copied = len(list((mirror.folder / "targets" / "many").glob("*"))) if (mirror.folder / "targets" / "many").exists() else 0
        if mirror.timestamp() == timestamp:
            partial += copied > 0
            assert mirror.new(Device).download_bytes("fw.bin") == FILES["fw.bin"]
    assert partial > 0, "no run was killed in its middle"
    mirror.write()
    mirror.serves({"fw.bin": b"after"})
    device = mirror.new(Device)
    assert device.find(files) == {name: sha256(data) for name, data in files.items()}
    assert not list((mirror.folder / ".unfinished").iterdir())


def test_damaged_files_are_replaced(mirror: Mirror):
    mirror.write()
    cut = mirror.target("fw.bin", FILES["fw.bin"])
    cut.write_bytes(b"one")
    changed = mirror.target("gateway/v2/fw.bin", FILES["gateway/v2/fw.bin"])
    changed.write_bytes(b"eno" * 2000)
    # A target's two paths are one file.
    assert mirror.write()["new"] == 1
    assert cut.read_bytes() == FILES["fw.bin"]
    assert changed.read_bytes() != FILES["gateway/v2/fw.bin"], "only --check reads what has its length"
    assert mirror.write("--check")["new"] == 1
    for file in (mirror.folder / "metadata").glob("*.targets.json"):
        file.write_bytes(file.read_bytes().replace(b"fw.bin", b"fw.bad"))
    mirror.write()
    mirror.serves(FILES)


def test_what_does_not_verify_is_not_shown(mirror: Mirror, tmp_path: Path):
    mirror.write()
    timestamp = mirror.timestamp()
    away = tmp_path / "away"
    with StaticServer(away) as server:
        there = ["--metadata", f"{server.url}metadata/", "--root", mirror.root]
        shutil.copytree(mirror.folder, away)
        place = tmp_path / "second"

        def refused(why: str) -> None:
            error = one_line_error(run("mirror", place, *there))
            assert why in error, error
            assert not (place / "metadata" / "timestamp.json").exists()
            assert all(path.is_file() or any(path.iterdir()) for path in place.rglob("*")), "an empty folder was left"

        # A target with other bytes, too few, too many, or none.
        target = away / mirror.target("fw.bin", FILES["fw.bin"]).relative_to(mirror.folder)
        for data, why in [(b"eno" * 1000, "sha256 differs"), (b"one", "ends"), (b"one" * 1001, "more bytes")]:
            target.unlink()
            target.write_bytes(data)
            refused(why)
        target.unlink()
        refused("the listed target fw.bin is missing there")
        target.write_bytes(FILES["fw.bin"])
        # A damaged snapshot.
        snapshot = max((away / "metadata").glob("*.snapshot.json"))
        whole = snapshot.read_bytes()
        snapshot.write_bytes(whole.replace(b"targets.json", b"targots.json"))
        refused("cannot update")
        snapshot.write_bytes(whole)
        done = run("mirror", place, *there)
        assert done.returncode == DONE, done.stderr

        # The source goes back to an older state.
        newest = (mirror.folder / "metadata" / "timestamp.json").read_bytes()
        mirror.form.put("later.bin", b"later")
        mirror.form.wait_published({"later.bin": sha256(b"later")})
        mirror.write()
        assert mirror.timestamp() > timestamp
        (away / "metadata" / "timestamp.json").write_bytes(newest)
        error = one_line_error(run("mirror", mirror.folder, *there))
        assert "somebody shows an old state" in error
        assert mirror.timestamp() > timestamp
        mirror.serves({"later.bin": b"later"})


def test_bad_input(mirror: Mirror, tmp_path: Path):
    assert run("mirror", mirror.folder, "--root", mirror.root).returncode == MISUSED
    assert "is the data folder of a Tufline repository" in one_line_error(mirror.form.tufline("mirror", mirror.form.data))
    there = ["--metadata", mirror.form.endpoints["metadata_url"]]
    assert "cannot read the trusted root" in one_line_error(run("mirror", mirror.folder, *there, "--root", tmp_path / "none"))
    other = tmp_path / "other.json"
    other.write_text(Path(mirror.root).read_text().replace('"version":1', '"version":2'))
    assert "cannot update" in one_line_error(run("mirror", mirror.folder, *there, "--root", other))


@pytest.mark.parametrize("tuftool_names", [False, True])
def test_a_copy_of_somebody_elses_repository(tmp_path: Path, tuftool_names: bool):
    """The copy has both paths of a target, whichever the repository has. It may miss a whole
    rotation of keys."""
    foreign = ForeignRepository(tmp_path / "foreign", tuftool_names=tuftool_names, bins=16)
    foreign.publish(FILES)
    place = tmp_path / "mirror"
    trusted = tmp_path / "root.json"
    shutil.copy(foreign.metadata / "1.root.json", trusted)
    with StaticServer(foreign.folder) as there, StaticServer(place) as here:
        command = ["mirror", place, "--metadata", f"{there.url}metadata/", "--root", trusted]
        endpoints = {"metadata_url": f"{here.url}metadata/", "targets_url": f"{here.url}targets/", "trusted_root": str(trusted)}
        assert run(*command).returncode == DONE
        (tmp_path / "python-tuf").mkdir()
        device = Device(endpoints, tmp_path / "python-tuf")
        assert device.download_bytes("gateway/v2/fw.bin") == FILES["gateway/v2/fw.bin"]

        foreign.replace_key("timestamp")
        foreign.publish({"new.bin": b"new"})
        done = run(*command)
        assert done.returncode == DONE, done.stderr
        # The copy verifies all the time: first comes the root that adds the key, then what it
        # signed, then the root that drops the old key.
        files = ("2.root.json", "timestamp.json", "3.root.json")
        written = [(place / "metadata" / file).stat().st_mtime_ns for file in files]
        assert written == sorted(written)
        assert device.download_bytes("new.bin") == b"new"
        (tmp_path / "tuf-js").mkdir()
        assert TufJsDevice(endpoints, tmp_path / "tuf-js").download_bytes("gateway/v2/fw.bin") == FILES["gateway/v2/fw.bin"]
        # tough, from an older mirror of this one: it asks for the other path.
        again = tmp_path / "again"
        metadata = ["--metadata", endpoints["metadata_url"], "--root", trusted]
        assert run("mirror", again, *metadata).returncode == DONE
        assert (again / "targets" / f"{sha256(b'new')}.new.bin").read_bytes() == b"new"


def test_a_run_that_fails_leaves_what_was_there(tmp_path: Path):
    foreign = ForeignRepository(tmp_path / "foreign", consistent=False)
    foreign.publish(FILES)
    command = ["--metadata", foreign.metadata.as_uri(), "--root", foreign.metadata / "1.root.json"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "metadata").mkdir(parents=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    for place in ("new", "a/b/c", "empty", "half", "full"):
        one_line_error(run("mirror", tmp_path / place, *command))
        assert sorted(tmp_path.rglob("*")) == before, place


def test_files_that_change_in_place_are_not_copied(tmp_path: Path):
    foreign = ForeignRepository(tmp_path / "foreign", consistent=False)
    foreign.publish(FILES)
    root = foreign.metadata / "1.root.json"
    error = one_line_error(run("mirror", tmp_path / "mirror", "--metadata", foreign.metadata.as_uri(), "--root", root))
    assert "consistent snapshots" in error


def test_names_that_web_servers_read_differently_are_not_copied(tmp_path: Path):
    foreign = ForeignRepository(tmp_path / "foreign", bins=16, bin_prefix="vendor/")
    foreign.publish(FILES)
    root = foreign.metadata / "1.root.json"
    error = one_line_error(run("mirror", tmp_path / "mirror", "--metadata", foreign.metadata.as_uri(), "--root", root))
    assert "web servers read a name" in error


def test_a_copy_of_either_form(form: Form, tmp_path: Path):
    """On AWS large targets come by a redirect, and the mirror follows it."""
    names = form.unique("mirror")
    files = {f"{names}/small.bin": b"small", f"{names}/deep/large.bin": random.Random(2).randbytes(600_000)}
    with mirror_of(form, files, tmp_path) as mirror:
        assert mirror.write()["targets"] >= len(files)
        mirror.serves(files)
        assert mirror.write()["new"] == 0
