"""A server that answers whatever an attacker wants, to many clients at once, each with a scene of its own."""

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

# What many servers take of a request's head (nginx: `large_client_header_buffers`); more is answered with 431 (RFC 6585, section 5).
LONGEST_HEAD = 8192

# Raw pieces of an answer, of which the last ends the connection.
Answer = Callable[["Request"], Iterator[bytes]]


@dataclass
class Request:
    """What a client asked."""

    path: str
    headers: dict[str, str]
    host: str
    scene: "Scene"


@dataclass
class Scene:
    """What one client sees: files by their paths, and answers in the place of some of them."""

    files: dict[str, bytes]
    answers: dict[str, Answer] = field(default_factory=dict)
    # What a pack has in the place of some of them; `None` where it says or has nothing.
    packed: dict[str, bytes | None] = field(default_factory=dict)
    # What a client should find that takes it.
    expected: bytes | None = None
    asked: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    # Below which it is served.
    number: str = ""

    def drip(self, seconds: float) -> bool:
        """Waits; whether the scene goes on."""
        return not self.over.wait(seconds)


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    # Some hundred clients connect at once. It is read when it begins to listen, which its constructor does.
    request_queue_size = 256


class Server:
    """Serves scenes while the `with` block lasts, at `127.0.0.1` and as another host at `localhost`."""

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
        """As a well-behaved server does it, with parts (RFC 9110, section 14)."""
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
    """A status line and fields, with dashes for underscores."""
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
    """Goes on as long as somebody listens: fast at first, and then so that what hangs leaves the processors to others."""

    def answer(request: Request) -> Iterator[bytes]:
        yield first
        yield from itertools.repeat(piece, 200)
        while request.scene.drip(0.05):
            yield piece

    return answer


def dripping(first: bytes, piece: bytes, seconds: float) -> Answer:
    """A piece now and then, as long as somebody listens."""

    def answer(request: Request) -> Iterator[bytes]:
        yield first
        while request.scene.drip(seconds):
            yield piece

    return answer


def redirect(to: Callable[[Request], str], status: str = "302 Found") -> Answer:
    def answer(request: Request) -> Iterator[bytes]:
        yield head(status, Location=to(request), Content_Length=0)

    return answer
