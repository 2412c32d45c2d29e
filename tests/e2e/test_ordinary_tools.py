"""Ordinary tools on the uploads folder: `rsync`, `rclone`, editors, links, and writers that pause
or are killed.

If `rsync` or `rclone` isn't installed, its test is skipped (Debian: `apt-get install rsync
rclone`).
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .device import sha256
from .folder import FolderForm
from .form import DONE, TUFLINE
from .holders import Holder
from .party import Party
from .polling import throughout, until

MIB = 1 << 20


def fill(folder: FolderForm, *names: str) -> dict[str, str]:
    """Publishes targets whose bytes are their names, and returns what devices see."""
    for name in names:
        folder.put(name, name.encode())
    expected = {name: sha256(name.encode()) for name in names}
    folder.wait_published(expected)
    return expected


def of_kind(folder: FolderForm, kind: str) -> list[dict]:
    return [event["detail"] for event in folder.events() if event["detail-type"] == kind]


def rejected(folder: FolderForm, name: str) -> list[dict]:
    return [detail for detail in of_kind(folder, "Upload Rejected") if detail["name"] == name]


def shown(folder: FolderForm, name: str) -> list[tuple[str, object]]:
    """A target's digest and custom metadata in each document ever signed, oldest first."""
    documents = (folder.data / "repository" / "metadata").glob("*.targets.json")
    found = []
    for path in sorted(documents, key=lambda path: int(path.name.partition(".")[0])):
        target = json.loads(path.read_text())["signed"]["targets"].get(name)
        if target is not None:
            found.append((target["hashes"]["sha256"], target.get("custom")))
    return found


# Tools that make one folder like another


def rsync(source: Path, uploads: Path) -> None:
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{uploads}/"], check=True)


def rclone(source: Path, uploads: Path) -> None:
    subprocess.run(["rclone", "sync", str(source), str(uploads)], check=True, env={**os.environ, "RCLONE_CONFIG": "/dev/null"}, capture_output=True)


@pytest.mark.parametrize("sync", [rsync, rclone])
def test_a_sync_that_deletes_goes_on_over_a_restart(folder: FolderForm, tmp_path: Path, sync: Callable[[Path, Path], None]):
    if shutil.which(sync.__name__) is None:
        pytest.skip(f"{sync.__name__} is not installed")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (source / name).write_bytes(name.encode())
    sync(source, folder.uploads)
    expected = {name: sha256(name.encode()) for name in ("a", "b", "sub/c")}
    folder.wait_published(expected)
    for restarts in (True, False):
        if restarts:
            assert folder.stop() == 0
            folder.start()
        (source / "a").write_bytes(f"changed {restarts}".encode())
        sync(source, folder.uploads)
        folder.wait_published({**expected, "a": sha256(f"changed {restarts}".encode())})
    (source / "b").unlink()
    sync(source, folder.uploads)
    folder.wait_published({"b": None, "sub/c": expected["sub/c"]})
    assert not folder.troubles() and not of_kind(folder, "Removals Held")
    assert not [path for path in folder.uploads.iterdir() if path.name.startswith(".")], "nothing of ours for a sync to remove"


def test_rsync_keeps_old_times_of_other_bytes(folder: FolderForm, tmp_path: Path):
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    source, when = tmp_path / "source", time.time() - 86400
    source.mkdir()
    for data in (b"first", b"other"):
        (source / "a").write_bytes(data)
        os.utime(source / "a", (when, when))
        subprocess.run(["rsync", "-a", "--ignore-times", "--inplace", f"{source}/", f"{folder.uploads}/"], check=True)
        folder.wait_published({"a": sha256(data)})
    # As `cp -p` over the file does, with a time in the future.
    (folder.uploads / "a").write_bytes(b"third")
    os.utime(folder.uploads / "a", (time.time() + 86400, time.time() + 86400))
    folder.wait_published({"a": sha256(b"third")})


# The folder as a whole


def test_a_swapped_folder_goes_on_by_itself(folder: FolderForm):
    expected = fill(folder, "a", "b", "c")
    for number, runs in enumerate((True, False)):
        other = folder.scratch / f"other-{number}"
        shutil.copytree(folder.uploads, other, ignore=shutil.ignore_patterns(".*"))
        (other / f"new-{number}").write_bytes(b"new")
        if not runs:
            assert folder.stop() == 0
        folder.uploads.rename(folder.scratch / f"away-{number}")
        other.rename(folder.uploads)
        if not runs:
            folder.start()
        folder.wait_published({**expected, f"new-{number}": sha256(b"new")})
        fill(folder, f"after-{number}")
    until("over", lambda: not folder.troubles())
    assert not of_kind(folder, "Removals Held")


def test_a_folder_that_is_made_anew_is_not_taken_before_it_is_filled(folder: FolderForm):
    expected = fill(folder, "a", "b", "c", "d")
    away = folder.scratch / "away"
    folder.uploads.rename(away)
    folder.uploads.mkdir()
    device = folder.device()
    for name in expected:
        # Half of it is there for a while.
        throughout("published", lambda: device.find(expected) == expected, 1)
        shutil.copy2(away / name, folder.uploads / name)
    fill(folder, "after")
    assert device.find(expected) == expected
    assert not [name for event in of_kind(folder, "Targets Published") for name in event["removed"]]


@pytest.mark.parametrize("targets", [["a"], ["a", "b", "c"]])
def test_an_apparently_unmounted_folder_is_held_and_reported(folder: FolderForm, targets: list[str]):
    expected = fill(folder, *targets)
    away = folder.scratch / "away"
    folder.uploads.rename(away)
    until("shown", lambda: "there is no folder" in folder.troubles().get("uploads folder", ""))
    folder.uploads.mkdir()
    until("shown", lambda: "accept-removals" in folder.troubles().get("uploads folder", ""))
    (event,) = of_kind(folder, "Removals Held")
    assert event["removals"] == event["targets"] == len(targets)
    assert "is in the place of" in folder.log.read_text()
    # It starts, and answers devices.
    assert folder.stop() == 0
    folder.start()
    device = folder.device()
    until("shown", lambda: "accept-removals" in folder.troubles().get("uploads folder", ""))
    throughout("published", lambda: device.find(expected) == expected, 1)
    # The folder comes back.
    folder.uploads.rmdir()
    away.rename(folder.uploads)
    fill(folder, "after")
    until("over", lambda: not folder.troubles())
    assert device.find(expected) == expected


def test_an_operator_takes_another_folder_as_it_is(folder: FolderForm):
    expected = fill(folder, "a", "b", "c")
    # An earlier consent was for other removals.
    assert folder.tufline("accept-removals").returncode == DONE
    shutil.rmtree(folder.uploads)
    folder.uploads.mkdir()
    (folder.uploads / "new").write_bytes(b"new")
    until("shown", lambda: "accept-removals" in folder.troubles().get("uploads folder", ""))
    throughout("held", lambda: "uploads folder" in folder.troubles(), 2)
    accepted = folder.tufline("accept-removals")
    assert accepted.returncode == DONE, accepted.stderr
    folder.wait_published({**dict.fromkeys(expected), "new": sha256(b"new")})
    until("over", lambda: not folder.troubles())


# Writers


def writes_with_a_pause(path: Path, between: Callable[[], object]) -> bytes:
    """Writes a file in place, does something in the middle, and returns the file's bytes."""
    first, second = os.urandom(1000), os.urandom(1000)
    with path.open("wb") as file:
        file.write(first)
        file.flush()
        between()
        file.write(second)
    return first + second


@pytest.mark.parametrize("place", ["in place", "in a new folder", "over another", "over a start", "without notices"])
def test_half_a_file_is_never_published(make_folder, place: str):
    folder = make_folder()
    if place == "without notices":
        # As on a file system without notifications: in a namespace of its own, the process gets no
        # watch (https://man7.org/linux/man-pages/man7/namespaces.7.html, /proc/sys/user).
        limit = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\""
        command = folder.command()
        folder.command = lambda: ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh", *command]
        if subprocess.run([*folder.command()[:5], "echo 0 > /proc/sys/user/max_inotify_instances"], check=False).returncode != 0:
            pytest.skip("no namespaces of users here")
    folder.start()
    path = folder.path("d/a" if place == "in a new folder" else "a")
    name = str(path.relative_to(folder.uploads))
    if place == "over another":
        fill(folder, name)
    path.parent.mkdir(exist_ok=True)
    before = folder.blobs()

    def pause() -> None:
        if place == "over a start":
            folder.kill()
            folder.start()
        time.sleep(1.5)
        if place != "without notices":
            # An incomplete file delays no other.
            fill(folder, "other")
        assert folder.blobs() - before <= {sha256(b"other")}

    data = writes_with_a_pause(path, pause)
    folder.wait_published({name: sha256(data)})
    assert {digest for digest, _ in shown(folder, name)} <= {sha256(data), sha256(name.encode())}
    if place == "without notices":
        assert "can't be watched" in folder.log.read_text()


@pytest.mark.parametrize("what", ["upload", "document"])
def test_files_being_written_during_a_start_do_no_harm(folder: FolderForm, tmp_path: Path, what: str):
    if what == "upload":
        path = folder.path("a")
    else:
        vendor = Party(folder, tmp_path, "vendor", Holder("vera", tmp_path))
        create = ["--paths", "vendor/*", *vendor.holders[0].key]
        assert folder.tufline("delegation", "create", "vendor", *create).returncode == DONE
        vendor.put("vendor/a", b"x")
        vendor.sign()
        path = folder.data / "delegations" / "vendor.json"

    def pause() -> None:
        folder.kill()
        folder.start()
        fill(folder, "other")
        assert folder.tufline("reconcile").returncode == DONE
        throughout("no trouble", lambda: not folder.status()["attention"], 3)

    if what == "upload":
        data = writes_with_a_pause(path, pause)
        folder.wait_published({"a": sha256(data)})
        return
    data = vendor.file.read_bytes()
    with path.open("wb") as file:
        file.write(data[:100])
        file.flush()
        pause()
        file.write(data[100:])
    folder.wait_published({"vendor/a": sha256(b"x")})


TEMPORARY = [
    "fw.part", "fw.1a2b3c4d.partial", "fw.tmp", "fw.temp", "fw.filepart", "fw.crdownload", "fw.download", "fw.opdownload", "fw.aria2",
    "fw.swp", "fw~", ".fw.XXXXXX", ".fw.swp", "sub/fw.partial",
]  # fmt: skip


def test_names_of_incomplete_files_are_no_targets(folder: FolderForm):
    for name in TEMPORARY:
        folder.put(name, b"half")
    fill(folder, "after")
    throughout("ignored", lambda: folder.listed() == {"after"}, 1)
    assert not of_kind(folder, "Upload Rejected")
    folder.path("fw.part").rename(folder.path("fw"))
    folder.wait_published({"fw": sha256(b"half")})


def test_a_killed_upload_leaves_nothing(folder: FolderForm, tmp_path: Path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2000 * MIB)
    command = [str(TUFLINE), "upload", str(large), "--prefix", "d", "--endpoints", str(folder.data / "endpoints.json")]
    upload = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    left = lambda: [path for path in folder.uploads.rglob(".*") if path.stat().st_size > MIB]
    until("writing", left, pause=0.001)
    upload.send_signal(signal.SIGSTOP)
    (path,) = left()
    # A process is still writing it.
    throughout("there", path.exists, 4)
    upload.kill()
    upload.wait()
    until("removed", lambda: not path.exists())
    fill(folder, "after")


# The pair of a file and its side file


def test_an_editor_replaces_the_side_file(folder: FolderForm):
    folder.put("a", b"a", '{"rev":1}')
    folder.wait_published({"a": sha256(b"a")})
    side = folder.side_file("a")
    # As Vim does with `backupcopy=no`: it renames the old file and writes a new one (:help
    # backupcopy).
    side.rename(f"{side}~")
    time.sleep(0.7)
    side.write_text('{"rev":2}')
    until("published", lambda: folder.device().custom("a") == {"rev": 2})
    # As other editors do: they remove the file and write it with a pause.
    side.unlink()
    time.sleep(0.7)
    with side.open("w") as file:
        file.write('{"rev"')
        file.flush()
        time.sleep(1.5)
        file.write(":3}")
    until("published", lambda: folder.device().custom("a") == {"rev": 3})
    assert [custom for _, custom in shown(folder, "a")] == [{"rev": 1}, {"rev": 2}, {"rev": 3}]
    assert not of_kind(folder, "Upload Rejected")
    side.unlink()
    until("without", lambda: folder.device().custom("a") in (None, {}))


@pytest.mark.parametrize("first", ["file", "side file"])
def test_a_file_and_its_side_file_change_together(folder: FolderForm, first: str):
    folder.put("a", b"1", '{"rev":1}')
    folder.wait_published({"a": sha256(b"1")})
    replace = {
        "file": lambda: folder.put("a", b"2"),
        "side file": lambda: folder.side_file("a").write_text('{"rev":2}'),
    }
    replace.pop(first)()
    time.sleep(0.4)
    next(iter(replace.values()))()
    until("published", lambda: folder.device().custom("a") == {"rev": 2})
    folder.wait_published({"a": sha256(b"2")})
    assert shown(folder, "a") == [(sha256(b"1"), {"rev": 1}), (sha256(b"2"), {"rev": 2})]


# What isn't a regular file


def test_a_link_is_told_and_removes_nothing(folder: FolderForm):
    expected = fill(folder, "a", "stable/b", "c")
    # In place of a file, in place of a folder with files, and under a new name.
    folder.path("a").unlink()
    folder.path("a").symlink_to("c")
    folder.path("stable").rename(folder.path("v1"))
    folder.path("stable").symlink_to("v1")
    folder.path("new").symlink_to("c")
    for name in ("a", "stable/b", "new"):
        (event,) = until("told", lambda name=name: rejected(folder, name))
        assert event["code"] == "not-a-file" and "symbolic link" in event["reason"]
        until("logged", lambda event=event: event["reason"] in folder.log.read_text())
    device = folder.device()
    throughout("published", lambda: device.find([*expected, "new"]) == {**expected, "new": None}, 2)
    # After a restart too.
    assert folder.stop() == 0
    folder.start()
    throughout("published", lambda: device.find(expected) == expected, 2)
    folder.path("a").unlink()
    fill(folder, "a", "d")
    folder.path("stable").unlink()
    folder.path("v1").rename(folder.path("stable"))
    folder.path("stable/b").write_bytes(b"again")
    folder.wait_published({"stable/b": sha256(b"again")})
    folder.path("a").unlink()
    folder.wait_published({"a": None})


def test_pipes_sockets_and_linked_side_files_are_told(folder: FolderForm):
    os.mkfifo(folder.path("fifo"))
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(folder.uploads):
        bound.bind("socket")
    folder.side_file("x").symlink_to("elsewhere")
    folder.put("x", b"x")
    for name in ("fifo", "socket", "x"):
        assert until("told", lambda name=name: rejected(folder, name))[0]["code"] == "not-a-file"
    folder.side_file("x").unlink()
    folder.wait_published({"x": sha256(b"x")})


def test_other_changes_that_people_make(folder: FolderForm, tmp_path: Path):
    expected = fill(folder, "Fw.bin", "file", "one", "other")
    # A change of case only.
    folder.path("Fw.bin").rename(folder.path("fw.bin"))
    # A folder in place of a file.
    folder.path("file").unlink()
    folder.path("file").mkdir()
    folder.put("file/below", b"below")
    # A hard link, written to by its other name.
    (tmp_path / "outside").write_bytes(b"linked")
    os.link(tmp_path / "outside", folder.path("linked"))
    folder.wait_published({
        "Fw.bin": None, "fw.bin": expected["Fw.bin"], "file": None, "file/below": sha256(b"below"), "linked": sha256(b"linked"),
    })  # fmt: skip
    (tmp_path / "outside").write_bytes(b"changed")
    # A refused name.
    folder.put("a b", b"x")
    folder.wait_published({"linked": sha256(b"changed"), "other": expected["other"]})
    assert until("told", lambda: rejected(folder, "a b"))[0]["code"] == "name"


def test_a_file_that_is_replaced_while_it_is_hashed(folder: FolderForm, tmp_path: Path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200 * MIB)
    large.rename(folder.path("a"))
    (tmp_path / "small").write_bytes(b"small")
    time.sleep(0.05)
    (tmp_path / "small").rename(folder.path("a"))
    folder.wait_published({"a": sha256(b"small")})
