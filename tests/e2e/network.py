"""A bad network, determined by a seed: a web server for the files of a folder, and a path to it
that cuts, delays and lies.

The path is a TCP proxy, which knows nothing of HTTP. The server itself plays whatever answers in
its place (a load balancer's 503, a captive portal's page), since that is an answer.
"""

import contextlib
import hashlib
import math
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The most bytes on the way at once.
PIECE = 16 * 1024
# The client reads what has arrived within this time, in seconds, before a reset discards the rest.
READ_WITHIN = 0.05
PORTAL = b"<!DOCTYPE html><title>Welcome</title><p>Log in to use this network.</p>" + b"<!-- -->" * 200


@dataclass(frozen=True)
class Conditions:
    """How bad the network is."""

    # The share of connections that are cut, at a random byte of what comes: each power of ten is
    # equally likely, from the first byte up to `cut_within`.
    cut: float = 0.0
    cut_within: int = 5_000_000
    # Cuts every connection at this byte.
    cut_at: int | None = None
    # The time of a round trip in seconds; a new connection takes one more.
    latency: float = 0.0
    # Bytes a second.
    rate: float = 10e6
    # The share of requests that get HTTP 503.
    unavailable: float = 0.0
    # Whether the server supports ranges.
    ranges: bool = True
    # For this many seconds, a captive portal's page answers each request, beginning with request
    # number `portal_from`.
    portal: float = 0.0
    portal_from: int = 1


@dataclass
class Request:
    """A request that a file answered."""

    path: str
    # The first byte of the answer.
    begin: int
    # How many bytes of the body the server has sent.
    sent: int = 0


class Network:
    """Serves the files of `folder` over a network with these conditions, during the `with` block.

    The same seed gives the same faults in the order of connections and requests, for every client.
    With `upstream`, it is the path to that server, in place of one for a folder.
    """

    def __init__(
        self,
        folder: Path,
        conditions: Conditions = Conditions(),
        seed: object = 0,
        upstream: tuple[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.upstream = upstream
        self.conditions = conditions
        self.seed = seed
        # The requests that a file answered, in order.
        self.requests: list[Request] = []
        # The number of all requests.
        self.asked = 0
        # Bytes on the wire, to the client and from it, without TCP's own.
        self.down = self.up = 0
        self._portal_until = 0.0
        self._count = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"network": self}))
        self._server.daemon_threads = True
        self._way = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._connections = 0
        self.url = f"http://127.0.0.1:{self._way.getsockname()[1]}/"

    def endpoints(self, root: Path) -> dict[str, str]:
        """The endpoints of the repository in the folder."""
        urls = {"metadata_url": f"{self.url}metadata/", "targets_url": f"{self.url}targets/"}
        return {**urls, "trusted_root": str(root)}

    def __enter__(self) -> "Network":
        # The argument is the interval at which the server checks whether it should stop.
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._way.shutdown(socket.SHUT_RDWR)
        self._way.close()
        self._server.shutdown()
        self._server.server_close()

    def chance(self, of: str, number: int) -> random.Random:
        """The randomness for this connection or request."""
        return random.Random(f"{self.seed} {of} {number}")

    def instead(self) -> str | None:
        """What answers this request in the server's place: "503", "portal" or `None`."""
        with self._count:
            self.asked += 1
            number = self.asked
            if number == self.conditions.portal_from:
                self._portal_until = time.monotonic() + self.conditions.portal
        if time.monotonic() < self._portal_until:
            return "portal"
        return "503" if self.chance("request", number).random() < self.conditions.unavailable else None

    # The way

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._way.accept()
                self._connections += 1
                try:
                    _Connection(self, client, self._connections, self.upstream or self._server.server_address).start()
                except OSError:  # Nobody answers there.
                    client.close()

    def came(self, down: int = 0, up: int = 0) -> None:
        with self._count:
            self.down += down
            self.up += up


class _Connection(threading.Thread):
    """A connection from a client to the server and back."""

    def __init__(self, network: Network, client: socket.socket, number: int, server: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.network, self.client, self.server = network, client, socket.create_connection(server)
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conditions, chance = network.conditions, network.chance("connection", number)
        self.rest = conditions.cut_at
        if chance.random() < conditions.cut:
            self.rest = round(math.exp(chance.uniform(0, math.log(conditions.cut_within))))
        self.reset = chance.random() < 0.5

    def run(self) -> None:
        up = threading.Thread(target=self._up, daemon=True)
        up.start()
        with contextlib.suppress(OSError):
            self._down()
        # Only `shutdown` wakes a thread that reads from a socket, and a socket isn't closed while a
        # thread reads from it.
        for end, how in ((self.server, socket.SHUT_RDWR), (self.client, socket.SHUT_RD)):
            with contextlib.suppress(OSError):
                end.shutdown(how)
        up.join()
        self.server.close()
        self.client.close()

    def _up(self) -> None:
        wait = 2 * self.network.conditions.latency
        with contextlib.suppress(OSError):
            while piece := self.client.recv(PIECE):
                self.network.came(up=len(piece))
                time.sleep(wait)
                wait = self.network.conditions.latency
                self.server.sendall(piece)
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_WR)

    def _down(self) -> None:
        conditions, due = self.network.conditions, 0.0
        # A tenth of a second's worth at a time.
        size = max(min(PIECE, round(conditions.rate / 10)), 1)
        while piece := self.server.recv(size):
            if self.rest is not None:
                piece = piece[: self.rest]
                self.rest -= len(piece)
            due = max(due, time.monotonic()) + len(piece) / conditions.rate
            self.client.sendall(piece)
            self.network.came(down=len(piece))
            if self.rest == 0:
                return self._cut()
            if (ahead := due - time.monotonic()) > 0:
                time.sleep(ahead)

    def _cut(self) -> None:
        """Cuts as a network does (a reset, and unread bytes are lost), or as a server does (an
        end)."""
        if self.reset:
            time.sleep(READ_WITHIN)
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections open, and logs neither requests nor clients that left."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()


class _Handler(QuietHandler):
    """A static server by RFC 9110, with `ETag`, `Range` of one part, and `If-Range`."""

    network: Network

    def do_GET(self) -> None:
        match self.network.instead():
            case "503":
                return self._answer(503, {"Content-Length": "0"}, b"")
            case "portal":
                return self._portal(self.network.chance("portal", self.network.asked))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        file = self.network.folder / path.lstrip("/")
        try:
            body = file.read_bytes()
        except OSError:
            return self._answer(404, {"Content-Length": "0"}, b"")
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        fields = {"ETag": etag, "Accept-Ranges": "bytes" if self.network.conditions.ranges else "none"}
        status, begin, end = 200, 0, len(body)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.network.conditions.ranges and self.headers.get("If-Range", etag) == etag:
            status, begin = 206, int(wanted[1])
            if begin >= len(body):
                return self._answer(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b"")
            end = min(int(wanted[2]) + 1, end) if wanted[2] else end
            fields["Content-Range"] = f"bytes {begin}-{end - 1}/{len(body)}"
        request = Request(path, begin)
        self.network.requests.append(request)
        self._answer(status, {**fields, "Content-Length": str(end - begin)}, body[begin:end], request)

    def _portal(self, chance: random.Random) -> None:
        """Answers with a portal's page: with its length, or ended by the connection, or with a
        redirect to it."""
        kind = chance.choice(["length", "end"] if self.path == "/portal" else ["length", "end", "elsewhere"])
        if kind == "elsewhere":
            return self._answer(302, {"Location": f"{self.network.url}portal", "Content-Length": "0"}, b"")
        self.close_connection = kind == "end"
        length = {"Connection": "close"} if kind == "end" else {"Content-Length": str(len(PORTAL))}
        return self._answer(200, {"Content-Type": "text/html", **length}, PORTAL)

    def _answer(self, status: int, fields: dict[str, str], body: bytes, request: Request | None = None) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(body), PIECE):
            piece = body[at : at + PIECE]
            # Counted first, since a test may look as soon as the client has read everything.
            if request is not None:
                request.sent += len(piece)
            self.wfile.write(piece)
