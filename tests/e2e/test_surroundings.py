"""The embedded form while its surroundings fail: its log, its disk, its clock, its files, and
devices that hold connections open."""

import contextlib
import json
import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .ceremony import Ceremony
from .device import sha256
from .folder import FolderForm
from .form import ATTENTION, DONE, json_lines, one_line_error, run
from .holders import Holder
from .http_client import ask
from .party import Party
from .polling import throughout, until
from .test_bad_input import small_disk


def publishes(folder: FolderForm, name: str) -> None:
    """Publishes a target of that name."""
    folder.put(name, name.encode())
    folder.wait_published({name: sha256(name.encode())})


# Its log


def nobody_listens() -> list[int]:
    """The end of a pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    return [write]


def a_full_disk() -> list[int]:
    return [os.open("/dev/full", os.O_WRONLY)]


def nobody_reads() -> list[int]:
    """The end of a full pipe, and its other end."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, bytes(4096)):
            pass
    os.set_blocking(write, True)
    return [write, read]


@pytest.mark.parametrize("log", [nobody_listens, a_full_disk, nobody_reads])
def test_nothing_can_be_logged(make_folder, log):
    folder, (end, *others) = make_folder(), log()
    with os.fdopen(end, "wb") as errors:
        # The lines at its start are for a program that waits for them.
        folder.start(output=None if others else errors, errors=errors)
    publishes(folder, "a")
    # Refusals are logged too.
    folder.put("a b", b"refused")
    until("refused", lambda: any(event["detail-type"] == "Upload Rejected" for event in folder.events()))
    publishes(folder, "b")
    assert folder.stop() == 0
    for other in others:
        os.close(other)


# Devices that only hold on


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process open as many files as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_requests_hold_up_nobody(make_folder, many_files: None):
    folder = make_folder().start(most_open_files=1024)
    host, port = folder.listen.split(":")
    held = []
    try:
        for _ in range(1100):
            connection = socket.create_connection((host, int(port)))
            connection.sendall(b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n")
            held.append(connection)
        assert ask(f"{folder.endpoints['metadata_url']}timestamp.json").status == 200
        publishes(folder, "a")
        # Other connections needed their places, so this many have been closed.
        closed = sum(is_closed(connection) for connection in held)
        assert closed >= 1100 - 512, closed
    finally:
        for connection in held:
            connection.close()
    publishes(folder, "b")
    assert "can't connect" not in folder.log.read_text()


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.001)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


# Its clock


def test_the_clock_is_behind(folder: FolderForm):
    publishes(folder, "a")
    timestamp = folder.data / "repository" / "metadata" / "timestamp.json"
    later = time.time() + 3600
    os.utime(timestamp, (later, later))
    before = timestamp.read_bytes()
    folder.put("b", b"b")
    until("told", lambda: "the clock says" in folder.log.read_text())
    until("shown", lambda: "the clock says" in folder.troubles().get("publish", ""))
    done = folder.tufline("status")
    assert done.returncode == ATTENTION and re.search("^clock +BEHIND", done.stdout, re.MULTILINE), done.stdout
    assert "the clock is behind" in done.stdout.splitlines()[-1]
    assert "1 to be published, the first made" in done.stdout
    throughout("as it was", lambda: timestamp.read_bytes() == before, 2)
    assert folder.log.read_text().count("the clock says") <= 2, "once by publish, once by refresh"
    # The clock is right again.
    os.utime(timestamp)
    folder.wait_published({"b": sha256(b"b")}, seconds=60)
    until("over", lambda: not folder.troubles())
    assert "clock" not in folder.tufline("status").stdout


# Its disk


def test_an_upload_of_holes_leaves_room_for_metadata(make_folder, tmp_path: Path):
    disk, megabyte = tmp_path / "disk", 1 << 20
    with small_disk(disk, 64):
        folder = make_folder(data=disk / "data", uploads=tmp_path / "uploads").start()
        publishes(folder, "before")
        free = os.statvfs(disk)
        # It would fit, but leave less than a tenth.
        length = free.f_bavail * free.f_frsize - megabyte
        with folder.path("holes").open("wb") as file:
            file.truncate(length)
        until("told", lambda: "stay free for metadata" in folder.log.read_text())
        why = until("shown", lambda: folder.troubles().get("upload holes"))
        assert f"its {length} bytes don't fit" in why and "make room" in why
        publishes(folder, "after")
        assert not list((folder.data / "tmp").iterdir())
        now = os.statvfs(disk)
        assert now.f_bavail * now.f_frsize > length - megabyte, "nothing of it was kept"
        # When there is room, the upload is accepted, and the message disappears.
        folder.path("holes").open("wb").truncate(8 * megabyte)
        folder.wait_published({"holes": sha256(bytes(8 * megabyte))}, seconds=60)
        until("over", lambda: not folder.troubles())
        folder.close()


# Its files


def hidden(path: Path) -> Path:
    """Moves a file away, and returns its new path."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    return aside


def test_a_lost_document_holds_up_its_own_targets_only(make_folder):
    folder = make_folder(bins=16).start()
    publishes(folder, "a")
    # The process has it in memory, and needs no file.
    folder.kill()
    ((role, entry),) = folder.manifests()[-1]["changed"].items()
    draft = folder.data / "ledger" / "drafts" / f"{entry['draft']}.json"
    signed = folder.data / "repository" / "metadata" / f"{entry['version']}.{role}.json"
    # Each could be restored from the other.
    aside = {path: hidden(path) for path in (draft, signed)}
    folder.start()
    names = [f"name-{number}" for number in range(64)]
    for name in names:
        folder.put(name, name.encode())
    until("shown", lambda: draft.name in folder.troubles().get("rebuild", ""))
    published = lambda: {name for manifest in folder.manifests() for name in (change["name"] for change in manifest["changes"])}
    until("all others", lambda: len(published()) > 40)
    assert not published() >= set(names)
    for path, hid in aside.items():
        hid.rename(path)
    folder.wait_published({name: sha256(name.encode()) for name in names}, seconds=90)


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_a_lost_file_of_what_is_published_is_named_once_a_minute(make_folder, role: str):
    folder = make_folder(bins=16).start()
    publishes(folder, "a")
    files = folder.published_roles() | {"snapshot": f"{folder.published_generation()}.snapshot.json"}
    lost = folder.data / "repository" / "metadata" / files[role]
    # The process has it in memory, and needs no file.
    folder.kill()
    aside = hidden(lost)
    folder.start()
    folder.put("b", b"b")
    until("told", lambda: f"{lost.name} is missing" in folder.log.read_text())
    until("shown", lambda: any(lost.name in why for why in folder.troubles().values()))
    throughout("quiet", lambda: folder.log.read_text().count(lost.name) <= 3, 2)
    aside.rename(lost)
    folder.wait_published({"b": sha256(b"b")}, seconds=60)


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


def with_other_bytes(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("damage", [missing, truncated, with_other_bytes])
def test_status_and_doctor_tell_what_devices_need_and_lack(folder_ceremony: Ceremony, tmp_path: Path, damage):
    ceremony, folder = folder_ceremony, folder_ceremony.form
    folder.bins = 16
    ceremony.first()
    ceremony.done("next", *ceremony.place)
    ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
    ceremony.publish("2.root.json")
    vendor = Party(folder, tmp_path, "vendor-x", Holder("vera", tmp_path))
    done = folder.tufline("delegation", "create", vendor.role, "--paths", f"{vendor.role}/*", *vendor.holders[0].key)
    assert done.returncode == DONE, done.stderr
    name = f"{vendor.role}/fw.bin"
    vendor.put(name, b"theirs")
    vendor.sign().deliver()
    folder.put("a", b"ours")
    folder.wait_published({"a": sha256(b"ours"), name: sha256(b"theirs")})
    assert said_of(folder) == (DONE, {}, set())

    roles, blobs = folder.published_roles(), folder.data / "repository" / "blobs"
    leaf = next(file for file in roles.values() if "a" in folder.signed(file)["targets"])
    names = [f"{folder.published_generation()}.snapshot.json", roles["targets"], leaf, roles[vendor.role]]
    files = [folder.data / "repository" / "metadata" / file for file in names]
    files += [next(blobs.rglob(sha256(data))) for data in (b"ours", b"theirs")]
    for path in files:
        kept = path.read_bytes()
        damage(path)
        file = str(path.relative_to(folder.data / "repository"))
        code, damaged, told = said_of(folder)
        assert code == ATTENTION and set(damaged) == {file} and len(told) == 1 and file in told.pop(), (file, damaged, told)
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
    # The process may have noticed too, and reports it for a while.
    assert said_of(folder)[1:] == ({}, set())

    # Without a newer one, the root before is the newest, and nobody misses one that has the same
    # keys.
    newest, first = (folder.data / "repository" / "metadata" / f"{version}.root.json" for version in (2, 1))
    if damage is not missing:
        kept = newest.read_bytes()
        damage(newest)
        code, _, told = said_of(folder)
        assert code == ATTENTION and len(told) == 1 and "2.root.json is no root" in told.pop(), told
        newest.unlink()
        newest.write_bytes(kept)
    damage(first)
    code, damaged, told = said_of(folder)
    assert code == ATTENTION and set(damaged) == {"metadata/1.root.json"}, (damaged, told)
    text = folder.tufline("status").stdout
    reasons = text.splitlines()[-1]
    assert text.count("metadata/1.root.json") == 2 and reasons.count("metadata/1.root.json") == 1, text


@pytest.mark.parametrize("damage", [missing, truncated])
def test_a_timestamp_that_is_lost_is_named(folder: FolderForm, damage):
    publishes(folder, "a")
    until("announced", lambda: (folder.data / "ledger" / "announced.json").exists())
    folder.kill()
    damage(folder.data / "repository" / "metadata" / "timestamp.json")
    assert "metadata/timestamp.json" in one_line_error(folder.tufline("status"))
    (report,) = json_lines(run("doctor", "--json", *folder.connection(operator=True)))
    told = [check["why"] for check in report["checks"] if check["code"] == "waiting"]
    assert len(told) == 1 and "metadata/timestamp.json" in told[0] and "init" not in told[0], told


def said_of(folder: FolderForm) -> tuple[int, dict[str, str], set[str]]:
    """The exit code of `tufline status`, the damaged files in its answer with the reason for each,
    and doctor's problems with stored files."""
    done = folder.tufline("status", "--json")
    damaged = {damage["file"]: damage["why"] for damage in json.loads(done.stdout)["damaged"]}
    (report,) = json_lines(run("doctor", "--json", *folder.connection(operator=True)))
    told = {check["why"] for check in report["checks"] if check["code"] == "waiting" and check["state"] == "problem"}
    advised = {check["advice"] for check in report["checks"] if check["code"] == "devices" and check["state"] == "problem"}
    assert not any("start `tufline local`" in advice for advice in advised), advised
    return done.returncode, damaged, told


def test_all_refused_uploads_can_be_listed(folder: FolderForm):
    names = [f"a b {number}" for number in range(7)]
    for name in names:
        folder.put(name, b"x")
    until("refused", lambda: folder.status()["rejected"]["count"] == len(names))
    listed = lambda *arguments: [name for name in names if f"            {name}: " in folder.tufline("status", *arguments).stdout]
    assert len(listed()) == 5 and "7 uploads, 5 of them listed here; `tufline status --all`" in folder.tufline("status").stdout
    assert listed("--all") == names and "7 uploads\n" in folder.tufline("status", "--all").stdout


def test_what_is_no_file_is_no_upload(folder: FolderForm):
    uploads = folder.uploads
    os.mkfifo(uploads / "fifo")
    (uploads / "link").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(uploads / "socket"))
    Path(os.fsdecode(os.fsencode(uploads) + b"/caf\xe9")).write_bytes(b"no name")
    (uploads / "a.tuf.json").mkdir()
    publishes(folder, "a")
    until("refused", lambda: any(event["detail-type"] == "Upload Rejected" for event in folder.events()))
    assert folder.tufline("status").returncode == 0
    assert folder.tufline("reconcile").returncode == 0
    publishes(folder, "c")
    assert not folder.troubles()
