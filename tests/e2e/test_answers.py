"""Web servers that answer something else than a repository's files. The message names what came, in
one line, and says what to do."""

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.metadata import Root, Timestamp

from .device import sha256
from .folder import FolderForm
from .foreign import ForeignRepository
from .form import DONE, FAILED, TIMED_OUT, json_lines, one_line_error, run

# A file longer than 1 MB is fetched in another way.
FILES = {"fw.bin": b"one" * 1000, "large.bin": b"large" * 400_000}
ALLOWED = "Basic " + base64.b64encode(b"somebody:secret").decode()

# The status, and the expected message.
ANSWERS = {
    401: ("is denied", "HTTP 401 Unauthorized", "give the credentials"),
    403: ("is denied", "HTTP 403 Forbidden", "give the credentials"),
    404: ("is missing there", "HTTP 404 Not Found", "check the URL"),
    410: ("is missing there", "HTTP 410 Gone", "check the URL"),
    418: ("cannot get", "HTTP 418", "check the URL"),
    429: ("cannot get", "HTTP 429 Too Many Requests", "run this again later"),
    500: ("cannot get", "HTTP 500 Internal Server Error", "run this again later"),
    503: ("cannot get", "HTTP 503 Service Unavailable", "run this again later"),
    302: ("cannot get", "HTTP 302 Found", "a redirect that leads nowhere"),
}


class Handler(SimpleHTTPRequestHandler):
    """Serves files, except those for which the test has another answer."""

    def do_GET(self) -> None:
        status = self.server.answer(self)
        if status is None:
            super().do_GET()
            return
        page = b"<html>no</html>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def translate_path(self, path: str) -> str:
        return str(self.server.folder / super().translate_path(path).removeprefix(f"{Path.cwd()}/"))

    def log_message(self, *arguments: object) -> None:
        pass


class Place:
    """Another tool's repository behind a server, and the commands that read it."""

    def __init__(self, scratch: Path, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.scratch = scratch
        self.foreign = ForeignRepository(scratch / "foreign")
        self.foreign.publish(FILES)
        self.root = scratch / "root.json"
        shutil.copy(self.foreign.metadata / "1.root.json", self.root)
        server.folder = self.foreign.folder
        server.answer, server.location = lambda _: None, None
        self.url = f"http://127.0.0.1:{server.server_port}/metadata/"
        self.copy = scratch / "made" / "copy"

    def answers(self, status: int, path: str) -> None:
        """Sets the answer to requests for this file."""
        self.server.answer = lambda request: status if request.path.endswith(path) else None

    def mirror(self, url: str | None = None):
        return run("mirror", self.copy, "--metadata", url or self.url, "--root", self.root, cwd=self.scratch)

    def import_(self):
        return run("import", self.url, "--root", self.root, "--data", self.scratch / "data", cwd=self.scratch)

    def leaves_nothing(self) -> None:
        assert sorted(path.name for path in self.scratch.iterdir()) == ["foreign", "root.json"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "others").mkdir()
    yield Place(tmp_path / "others", server)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", ANSWERS)
def test_an_answer_is_told_by_what_it_is(place: Place, folder: FolderForm, status: int):
    place.answers(status, "/timestamp.json")
    where = f"{place.url}timestamp.json"
    for command in (place.mirror, place.import_):
        error = one_line_error(command())
        assert all(part in error for part in (*ANSWERS[status], where)), error
        place.leaves_nothing()
    endpoints = folder.scratch / "others.json"
    endpoints.write_text(json.dumps({**folder.endpoints, "metadata_url": place.url}))
    # A denial is reported at once. Any other fault may pass before the time is up.
    is_denied = status in (401, 403)
    wait = ("wait", "fw.bin", "--timeout", 60 if is_denied else 1, "--endpoints", endpoints)
    done = run(*wait)
    assert done.returncode == (FAILED if is_denied else TIMED_OUT), (done.stdout, done.stderr)
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{'denied' if is_denied else 'timed out'} fw.bin: "), line
    assert all(part in line for part in (*ANSWERS[status], where)), line
    if is_denied:
        [line] = json_lines(run(*wait, "--json"))
        assert (line["name"], line["outcome"]) == ("fw.bin", "denied") and where in line["reason"], line


@pytest.mark.parametrize("status", [401, 403, 404, 503])
@pytest.mark.parametrize("name", FILES)
def test_an_answer_for_a_target_is_told_by_what_it_is(place: Place, status: int, name: str):
    file = f"{sha256(FILES[name])}.{name}"
    place.answers(status, f"/{file}")
    error = one_line_error(place.mirror())
    assert all(part in error for part in (*ANSWERS[status], f"target {name}", f"/targets/{file}")), error


def test_403_may_mean_missing_and_401_never_does(place: Place):
    """S3 answers 403 for the root that doesn't exist yet. 401 never means that: a newer root must
    not be missed."""
    place.answers(403, "/2.root.json")
    done = place.mirror()
    assert done.returncode == DONE and not done.stderr, done.stderr
    for status in (401, 503, 429, 302):
        place.answers(status, "/2.root.json")
        error = one_line_error(place.mirror())
        assert "2.root.json" in error and f"HTTP {status}" in error, error


def test_a_page_in_the_place_of_a_file_is_told_as_one(place: Place):
    """As from a network that requires a sign-in."""
    place.answers(200, "/timestamp.json")
    for command in (place.mirror, place.import_):
        error = one_line_error(command())
        assert "timestamp.json" in error and "it is a web page; look whether the URL is right" in error, error
        place.leaves_nothing()


def test_a_circle_of_redirects_is_told_as_one(place: Place):
    place.server.answer = lambda request: 307 if request.path.endswith("/timestamp.json") else None
    place.server.location = f"{place.url}timestamp.json"
    error = one_line_error(place.mirror())
    assert f"cannot get {place.url}timestamp.json: too many redirects" in error, error
    place.leaves_nothing()


def test_a_url_with_secrets_works_and_no_message_shows_them(place: Place):
    place.server.answer = lambda request: None if request.headers["Authorization"] == ALLOWED else 401
    let_in = place.url.replace("http://", "http://somebody:{}@")
    for password in ("wrong-word", ""):
        error = one_line_error(place.mirror(let_in.format(password)))
        assert "is denied" in error and "wrong-word" not in error and "somebody" not in error, error
    done = place.mirror(let_in.format("secret"))
    assert done.returncode == DONE, done.stderr


def junk(foreign: ForeignRepository) -> None:
    (foreign.metadata / "2.root.json").write_text("<html>")


def of_a_stranger(foreign: ForeignRepository) -> None:
    stranger = ForeignRepository(foreign.folder / "stranger")
    stranger.next_root()
    shutil.copy(stranger.metadata / "2.root.json", foreign.metadata)


@pytest.mark.parametrize("lies", [junk, of_a_stranger])
def test_a_root_that_counts_as_absent_is_reported_once(place: Place, lies: Callable[[ForeignRepository], None]):
    lies(place.foreign)
    told = "2.root.json there does not follow as a root, and counts as absent"
    for command in (place.mirror, place.import_):
        done = command()
        assert done.returncode == DONE, done.stderr
        [line] = done.stderr.splitlines()
        assert told in line, line
    # The page may be the reason why the rest doesn't verify, so the same line mentions it.
    place.foreign.keys[Timestamp.type] = place.foreign.keys[Root.type]
    place.foreign.publish()
    shutil.rmtree(place.scratch / "data")
    for path in place.scratch.glob("*.root.json"):
        path.unlink()
    for command in (place.mirror, place.import_):
        error = one_line_error(command())
        assert "timestamp.json: " in error and error.count(told) == 1, error
