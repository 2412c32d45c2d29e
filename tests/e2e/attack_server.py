"""A server that gives an attacker's answers, to many clients at once, each with its own scene."""

import hashlib
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from .attack_pack import packed

# The longest head of a request that many servers accept (nginx: `large_client_header_buffers`). A
# longer one gets 431 (RFC 6585, section 5).
LONGEST_HEAD = 8192

# The raw pieces of an answer. After the last one the connection ends.
Answer = Callable[["Request"], Iterator[bytes]]


@dataclass
class Request:
    """A client's request."""

    path: str
    headers: dict[str, str]
    host: str
    scene: "Scene"


@dataclass
class Scene:
    """What one client sees: files by path, and answers in place of some of them."""

    files: dict[str, bytes]
    answers: dict[str, Answer] = field(default_factory=dict)
    # What a pack contains in place of some files; `None` if it leaves the file out.
    packed: dict[str, bytes | None] = field(default_factory=dict)
    # What a client that accepts the scene should find.
    expected: bytes | None = None
    asked: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    # The first part of the scene's path on the server.
    number: str = ""

    def drip(self, seconds: float) -> bool:
        """Waits, and returns whether the scene continues."""
        return not self.over.wait(seconds)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    # Some hundred clients connect at once. The constructor reads this when it begins to listen.
    request_queue_size = 256


class Server:
    """Serves scenes during the `with` block, at `127.0.0.1`, and as another host at `localhost`."""

    def __init__(self) -> None:
        self.scenes: dict[str, Scene] = {}
        self.numbers = itertools.count()
        self.server = Listener(("127.0.0.1", 0), Handler)
        self.server.scenes = self.scenes

    def __enter__(self) -> "Server":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for scene in self.scenes.values():
            scene.over.set()
        self.server.shutdown()
        self.server.socket.close()

    def show(self, scene: Scene) -> str:
        """The URL of a scene, without a slash at its end."""
        scene.number = f"{next(self.numbers)}"
        self.scenes[scene.number] = scene
        return f"http://127.0.0.1:{self.server.server_port}/{scene.number}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 100

    def log_message(self, *arguments: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        number, _, path = self.path[1:].partition("/")
        scene = self.server.scenes.get(number)
        if scene is None:
            return self.plain(404, b"")
        request = Request(unquote(path), dict(self.headers.items()), self.headers["Host"], scene)
        scene.asked.append(request)
        if sum(len(name) + len(value) + 4 for name, value in self.headers.items()) > LONGEST_HEAD:
            return self.plain(431, b"")
        answer = packed if path.startswith("pack?") else scene.answers.get(request.path)
        if answer is None:
            return self.file(request, scene.files.get(request.path))
        self.close_connection = True
        for piece in answer(request):
            self.connection.sendall(piece)
            if scene.over.is_set():
                return None
        return None

    def file(self, request: Request, file: bytes | None) -> None:
        """Answers like a well-behaved server, with ranges (RFC 9110, section 14)."""
        if file is None:
            return self.plain(404, b"")
        etag = f'"{hashlib.sha256(file).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", request.headers.get("range", "")))
        condition = request.headers.get("If-Range", request.headers.get("if-range", etag))
        if asked and condition == etag:
            begin = int(asked[1])
            if begin >= len(file):
                return self.plain(416, b"", {"Content-Range": f"bytes */{len(file)}"})
            fields = {"Content-Range": f"bytes {begin}-{len(file) - 1}/{len(file)}", "ETag": etag}
            return self.plain(206, file[begin:], fields)
        return self.plain(200, file, {"ETag": etag})

    def plain(self, status: int, body: bytes, fields: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(fields or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


# Answers


def head(status: str = "200 OK", **fields: object) -> bytes:
    """A status line and header fields; underscores in names become dashes."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items()), "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def raw(*pieces: bytes) -> Answer:
    def answer(_: Request) -> Iterator[bytes]:
        return iter(pieces)

    answer.pieces = pieces
    return answer


def whole(body: bytes, status: str = "200 OK", **fields: object) -> Answer:
    return raw(head(status, Content_Length=len(body), **fields), body)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def chunked(body: bytes) -> Answer:
    return raw(head(Transfer_Encoding="chunked"), chunk(body), chunk(b""))


def forever(first: bytes, piece: bytes) -> Answer:
    """Sends pieces as long as the client listens: fast at first, then slowly, so that hanging
    clients leave the processor to others."""

    def answer(request: Request) -> Iterator[bytes]:
        yield first
        yield from itertools.repeat(piece, 200)
        while request.scene.drip(0.05):
            yield piece

    return answer


def dripping(first: bytes, piece: bytes, seconds: float) -> Answer:
    """Sends a piece every `seconds`, as long as the client listens."""

    def answer(request: Request) -> Iterator[bytes]:
        yield first
        while request.scene.drip(seconds):
            yield piece

    return answer


def redirect(to: Callable[[Request], str], status: str = "302 Found") -> Answer:
    def answer(request: Request) -> Iterator[bytes]:
        yield head(status, Location=to(request), Content_Length=0)

    return answer
