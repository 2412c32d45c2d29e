"""Unusable input ends with one line that says why, and an exit code other than 0."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cloud import CloudForm
from .device import SteadyDevice, sha256
from .folder import FolderForm
from .form import DONE, TUFLINE, one_line_error, run
from .polling import until


def test_the_port_is_taken(make_folder):
    folder = make_folder()
    with socket.create_server(("127.0.0.1", 0)) as other:
        folder.listen = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"{folder.listen} is taken" in one_line_error(run(*folder.command()[1:]))
    folder.start()


def test_the_data_folder_is_in_use(folder: FolderForm, make_folder):
    second = make_folder(data=folder.data)
    error = one_line_error(run(*second.command()[1:]))
    assert "already in use" in error and str(folder.process.pid) in error
    folder.put("a", b"x")
    folder.wait_published({"a": sha256(b"x")})


def test_the_data_folder_is_of_another_version(folder: FolderForm):
    folder.stop()
    (folder.data / "format").write_text("99\n")
    error = one_line_error(run(*folder.command()[1:]))
    assert '"99"' in error and '"1"' in error


def test_the_ledger_is_of_another_version(folder: FolderForm):
    folder.stop()
    [manifest] = (folder.data / "ledger" / "generations").glob("*.json")
    good = json.loads(manifest.read_text())
    for number in (0, 99):
        manifest.chmod(0o600)
        manifest.write_text(json.dumps({**good, "format": number}))
        assert "use the version that wrote it" in one_line_error(run(*folder.command()[1:]))


@pytest.mark.parametrize("place", ["format", "repository/metadata/1.root.json", "repository/metadata/timestamp.json"])
def test_a_pipe_lies_in_the_data_folder(folder: FolderForm, place: str):
    """Nobody writes to the pipe: a program that read it as a file would wait forever."""
    endpoints = folder.scratch / "kept.json"
    shutil.copy(folder.data / "endpoints.json", endpoints)
    folder.stop()
    (folder.data / place).unlink()
    os.mkfifo(folder.data / place)
    status = run("status", "--endpoints", endpoints)
    assert status.returncode != DONE and "pipe" in status.stdout + status.stderr, (status.stdout, status.stderr)
    if not place.endswith("timestamp.json"):
        assert "pipe" in one_line_error(run(*folder.command()[1:]))


def test_the_data_folder_cannot_be_made(make_folder, tmp_path: Path):
    (tmp_path / "file").write_text("")
    folder = make_folder(data=tmp_path / "file" / "data", uploads=tmp_path / "uploads")
    assert "file/data" in one_line_error(run(*folder.command()[1:]))


def test_the_uploads_would_publish_the_keys(make_folder):
    folder = make_folder()
    folder.uploads = folder.data
    assert "would lie in the uploads folder" in one_line_error(run(*folder.command()[1:]))


@pytest.mark.parametrize("config", ['[expiry]\ntimestamp = "soon"\n', "unknown = 1\n", "]\n"])
def test_the_configuration_makes_no_sense(make_folder, config: str):
    folder = make_folder(config=config)
    assert "config.toml cannot be used: line " in one_line_error(run(*folder.command()[1:]))


def test_a_key_is_lost_or_damaged(folder: FolderForm):
    folder.stop()
    key = folder.data / "keys" / "snapshot.pem"
    before = key.read_bytes()
    for damage in (b"", b"not a key\n", before[: len(before) // 2]):
        key.write_bytes(damage)
        assert "snapshot.pem" in one_line_error(run(*folder.command()[1:]))
    key.unlink()
    assert "snapshot.pem" in one_line_error(run(*folder.command()[1:]))
    assert not key.exists(), "no new key in place of a lost one"


def test_a_file_that_cannot_be_read(form, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    for path in ("missing", "folder", "missing/below"):
        assert path in one_line_error(form.tufline("upload", tmp_path / path))


def test_a_file_that_may_not_be_read(folder: FolderForm, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    options = {}
    if os.geteuid() == 0:
        # Root may read everything, so the program runs as another user, who must reach the program
        # and the file.
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        for reached in (tmp_path, *tmp_path.parents):
            if not reached.stat().st_mode & 0o001 and tmp_path.is_relative_to(reached):
                reached.chmod(reached.stat().st_mode | 0o011)
        try:
            subprocess.run([str(TUFLINE), "--version"], check=True, capture_output=True, **options)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"another user can't run {TUFLINE}")
    error = one_line_error(run("upload", secret, *folder.connection(False), **options))
    assert "secret" in error and "ermission denied" in error


def test_endpoints_that_are_none(tmp_path: Path):
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "text.json").write_text("text")
    for name in ("missing.json", "empty.json", "text.json"):
        for command in (["status"], ["wait", "a"], ["reconcile"], ["upload", tmp_path / "text.json"]):
            assert name in one_line_error(run(*command, "--endpoints", tmp_path / name))


def test_a_stopped_repository_is_reported(folder: FolderForm):
    folder.kill()
    done = folder.tufline("wait", "a", "--timeout", "1")
    assert done.returncode == 4 and len(done.stderr.splitlines()) == 1, done.stderr


def test_wrong_credentials(cloud: CloudForm, tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    for field in ("secret_access_key", "access_key_id"):
        wrong = tmp_path / f"{field}.json"
        wrong.write_text(json.dumps({**cloud.endpoints, field: "A" * 20}))
        for command in (["upload", path], ["status"], ["reconcile"]):
            error = one_line_error(run(*command, "--endpoints", wrong))
            assert cloud.endpoints["secret_access_key"] not in error


def test_an_uploader_is_no_operator(cloud: CloudForm):
    for command in ("status", "reconcile"):
        assert "AccessDenied" in one_line_error(cloud.tufline(command))


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size at `path`, in memory."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tufline-test", str(path)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no `mount`")
def test_the_disk_is_full(make_folder, tmp_path: Path):
    disk = tmp_path / "disk"
    with small_disk(disk, 16):
        folder = make_folder(data=disk / "data", uploads=tmp_path / "uploads").start()
        folder.put("before", b"before")
        device = folder.device()
        folder.wait_published({"before": sha256(b"before")}, device=device)
        large = os.urandom(24 << 20)
        with SteadyDevice(folder.device(), ["before", "large", "after"]):
            folder.put("large", large)
            until("reported", lambda: "make room" in folder.log.read_text())
            # Not even a small file fits any more.
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            folder.put("after", b"after")
            until("reported again", lambda: folder.log.read_text().count("make room") > 1)
            expected = {"before": sha256(b"before"), "large": None, "after": None}
            assert device.find(expected) == expected
            # Once there is room, it continues by itself.
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=128m", str(disk)], check=True)
            digests = {"before": sha256(b"before"), "large": sha256(large), "after": sha256(b"after")}
            folder.wait_published(digests, seconds=90, device=device)
        folder.close()
