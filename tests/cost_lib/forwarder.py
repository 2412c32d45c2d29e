"""A forwarder on the loopback address: it passes requests to the emulator and answers back, and
shows each to its counter."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

# Headers about one connection, which are not passed on.
HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Seen:
    """An answered request."""

    method: str
    # Path and query.
    target: str
    # With names in lower case.
    headers: dict[str, str]
    body: bytes
    status: int
    # The length of the answer's body.
    answered: int


class Forwarder(ThreadingHTTPServer):
    """Listens on its own port and forwards to `upstream`, such as `127.0.0.1:4566`, until it is
    closed."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: str, seen: Callable[[Seen], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        host, _, port = upstream.partition(":")
        self.pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=128, block=False, timeout=120, retries=False)
        self.seen = seen
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.pool.close()

    def handle_error(self, request, client_address) -> None:
        """Ignores a client that hangs up, as functions do when they end."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the head and the body of each answer would wait for each other.
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Forwarder

    def forward(self) -> None:
        if "transfer-encoding" in self.headers:
            return self.send_error(411)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        # Unchanged, because the signature covers the host that the client knows.
        headers = urllib3.HTTPHeaderDict((name, value) for name, value in self.headers.items() if name.lower() not in HOP)
        answer = self.server.pool.urlopen(
            self.command, self.path, body=body, headers=headers, redirect=False, decode_content=False, preload_content=True
        )
        self.send_response_only(answer.status)
        for name, value in answer.headers.iteritems():
            if name.lower() not in HOP | {"content-length"}:
                self.send_header(name, value)
        # The answer to a HEAD has the length that a GET would bring.
        length = answer.headers.get("content-length") if self.command == "HEAD" else str(len(answer.data))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(answer.data)
        known = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen(Seen(self.command, self.path, known, body, answer.status, len(answer.data)))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

    def log_message(self, *_: object) -> None:
        """Logs nothing: everything of interest is counted."""
