"""Paths and URLs as people write them: Tufline finds exactly what they name, or refuses. What a
message names can be pasted."""

import base64
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from .folder import FolderForm
from .foreign import ForeignRepository
from .form import DONE, MISUSED, one_line_error, run
from .holders import Holder
from .importing import Import
from .static_server import Quiet

# Names of folders and files; the last is not UTF-8.
NAMES = ["My Repo", "My%20Repo", "a?b", "a#b", "é", "it's", "-x", "a=b", "$HOME `x`", "http:", "a\\b", os.fsdecode(b"\xff\n")]
FILES = {"fw.bin": b"one", "gateway/v2/f+w@1=2,3~.bin": b"two"}


def as_given(name: str) -> str:
    """A path that doesn't look like an option."""
    return f"./{name}" if name.startswith("-") else name


@pytest.mark.parametrize("name", NAMES)
def test_folders_are_found_under_their_names(tmp_path: Path, name: str):
    """All of them are side by side, so that a mix-up would show."""
    side_by_side = tmp_path / "all"
    side_by_side.mkdir()
    for other in {"My Repo", "My%20Repo", name}:
        ForeignRepository(side_by_side / other).publish(FILES)
    root = (side_by_side / name / "metadata" / "1.root.json").read_bytes()
    for number, source in enumerate((as_given(name), (side_by_side / name).as_uri())):
        out = tmp_path / f"{number}" / "2.root.json"
        out.parent.mkdir()
        done = run("import", source, "--data", tmp_path / f"data-{number}", "--out", out, cwd=side_by_side)
        assert done.returncode == DONE, done.stderr
        assert (out.parent / "1.root.json").read_bytes() == root


@pytest.fixture
def moved(tmp_path: Path, make_folder) -> Import:
    foreign = ForeignRepository(tmp_path / "foreign")
    foreign.publish(FILES, by=7)
    people = tmp_path / "people"
    people.mkdir()
    return Import(people, foreign, make_folder())


@pytest.mark.parametrize("name", ["My Targets", "My%20Targets", os.fsdecode(b"\xff")])
def test_targets_may_lie_elsewhere(moved: Import, tmp_path: Path, name: str):
    (moved.foreign.folder / "targets").rename(tmp_path / name)
    assert "name it with --targets" in one_line_error(moved.run())
    moved.ceremony("--targets", tmp_path / name)
    for target, data in FILES.items():
        assert (moved.form.uploads / target).read_bytes() == data


class Guarded(Quiet):
    """Answers only requests with this query and these credentials."""

    query = "sv=2024-01-01&sig=a%2Fb%3D"
    credentials = "Basic " + base64.b64encode(b"me:pass@word").decode()

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(self.path)
        if query != self.query or self.headers.get("Authorization") != self.credentials:
            return self.send_error(401)
        self.path = path
        return super().do_GET()


@contextlib.contextmanager
def guarded(folder: Path, host: str) -> Iterator[tuple[str, list[str]]]:
    """Runs such a server; yields its URL, and the requests that it gets."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), partial(Guarded, directory=str(folder)))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    yield f"http://me:pass%40word@{shown}:{server.server_port}", server.asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_query_goes_with_every_request(moved: Import, tmp_path: Path, host: str, slash: str):
    with guarded(moved.foreign.folder, host) as (url, asked):
        source = f"{url}/metadata{slash}?{Guarded.query}"
        moved.ceremony("--root", moved.trusted, source=source)
        copy = tmp_path / "copy"
        done = run("mirror", copy, "--metadata", source, "--root", moved.trusted)
        assert done.returncode == DONE, done.stderr
        # Without the query the server refuses; and a message about a wrong one doesn't contain the
        # right one.
        wrong = f"{url}/metadata{slash}?{Guarded.query}x"
        error = one_line_error(run("mirror", tmp_path / "other", "--metadata", wrong, "--root", moved.trusted))
        assert "401" in error and "sig" not in error and "pass" not in error, error
    assert {path.partition("?")[2] for path in asked} == {Guarded.query, f"{Guarded.query}x"}
    for target, data in FILES.items():
        assert (moved.form.uploads / target).read_bytes() == data
        assert sum(path.read_bytes() == data for path in (copy / "targets").rglob("*") if path.is_file()) >= 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://host/metadata/#here", "'#'"),
        ("file:///srv/a?b", "%3F"),
        ("file://other/srv", "no folder of this machine"),
        ("s3://bucket/metadata", "give an http, https or file URL"),
        ("http://[::1", "not a URL"),
    ],
)
def test_urls_that_mean_nothing(tmp_path: Path, given: str, why: str):
    for command in (["import", given, "--data", tmp_path / "d"], ["mirror", tmp_path / "m", "--metadata", given, "--root", "r"]):
        done = run(*command)
        assert done.returncode == MISUSED and why in done.stderr, done.stderr
    assert not (tmp_path / "d").exists() and not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_repository_may_lie_anywhere(tmp_path: Path, make_folder, name: str):
    folder: FolderForm = make_folder(data=tmp_path / name / "data", uploads=tmp_path / f"{name} too").start()
    file = tmp_path / f"{name}.bin"
    file.write_bytes(b"x")
    done = folder.tufline("upload", file, "--name", "there", "--wait")
    assert done.returncode == DONE, done.stderr
    assert folder.device().download_bytes("there") == b"x"
    assert folder.tufline("status").returncode == DONE
    assert folder.tufline("mirror", tmp_path / f"{name} copy").returncode == DONE
    # What it prints at its start can be pasted.
    command = next(line for line in folder.log.read_text().splitlines() if "--endpoints" in line)
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {command.strip()}"], capture_output=True, text=True).stdout.splitlines()
    assert words[-1] == str(folder.data / "endpoints.json"), command


def test_a_folder_that_is_no_utf8_is_refused(tmp_path: Path):
    name = os.fsdecode(b"\xff")
    error = one_line_error(run("local", "--data", tmp_path / name, "--listen", "127.0.0.1:0"))
    assert "UTF-8" in error and "$'" in error, error


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_roots_are_found_under_their_names(tmp_path: Path, name: str):
    folder = tmp_path / name
    folder.mkdir()
    holder = Holder("alice", folder)
    root = folder / "1.root.json"
    done = run("root", "init", *holder.key, "--threshold", 1, "--data", folder / "data", "--out", root)
    assert done.returncode == DONE, done.stderr
    given = as_given(name)
    done = run("root", "sign", f"{given}/1.root.json", "--key", f"{given}/alice.pem", "--passphrase-file", holder.passphrase_file, cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    assert run("root", "show", f"{given}/1.root.json", cwd=tmp_path).returncode == DONE
    # A missing file is named so that the name can be pasted.
    error = one_line_error(run("root", "show", f"{given}/2.root.json", cwd=tmp_path))
    named = error.removeprefix("tufline: cannot read ").rpartition(": ")[0]
    pasted = subprocess.run(["bash", "-c", f"printf %s {named}"], capture_output=True, cwd=tmp_path).stdout
    assert os.fsdecode(pasted) == f"{given}/2.root.json", error


def test_what_looks_like_an_option_is_refused(tmp_path: Path):
    (tmp_path / "-x").mkdir()
    done = run("import", "-x", "--data", "d", cwd=tmp_path)
    assert done.returncode == MISUSED and "-- -x" in done.stderr
