"""A web server for the files of a folder. It knows parts of files, several at once too, and counts
what is asked and answered."""

import re
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BOUNDARY = "0123456789abcdef"
# At once.
PIECE = 2**20


@dataclass
class Traffic:
    """Since the last reset."""

    requests: int = 0
    # Bytes of bodies to the client; and of all heads, both ways.
    body: int = 0
    heads: int = 0


class Ranges:
    """Answers while the `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.traffic = Traffic()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"ranges": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def reset(self) -> None:
        self.traffic = Traffic()

    def count(self, requests: int = 0, body: int = 0, heads: int = 0) -> None:
        with self._lock:
            self.traffic.requests += requests
            self.traffic.body += body
            self.traffic.heads += heads

    def __enter__(self) -> "Ranges":
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ranges: Ranges
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        asked = len(self.requestline) + 2 + len(str(self.headers).replace("\n", "\r\n"))
        path = self.ranges.folder / urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")
        if not path.is_file():
            return self._head(asked, "404 Not Found", {"content-length": "0"})
        length = path.stat().st_size
        wanted = _wanted(self.headers.get("range"), length)
        fields = {"accept-ranges": "bytes", "content-type": "application/octet-stream"}
        if wanted is None:
            parts, status, total = [(b"", 0, length)], "200 OK", length
        elif len(wanted) == 1:
            (begin, end), status = wanted[0], "206 Partial Content"
            parts, total = [(b"", begin, end)], end - begin
            fields["content-range"] = f"bytes {begin}-{end - 1}/{length}"
        else:
            status = "206 Partial Content"
            parts = [(_part_head(begin, end, length), begin, end) for begin, end in wanted]
            parts.append((f"\r\n--{BOUNDARY}--\r\n".encode(), 0, 0))
            total = sum(len(head) + end - begin for head, begin, end in parts)
            fields["content-type"] = f"multipart/byteranges; boundary={BOUNDARY}"
        self._head(asked, status, {**fields, "content-length": str(total)})
        if not body:
            return None
        with path.open("rb") as file:
            for head, begin, end in parts:
                self._send(head)
                file.seek(begin)
                while begin < end:
                    piece = file.read(min(end - begin, PIECE))
                    self._send(piece)
                    begin += len(piece)
        return None

    def _head(self, asked: int, status: str, fields: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status}", f"date: {self.date_time_string()}", *(f"{name}: {value}" for name, value in fields.items())]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.wfile.write(head)
        self.ranges.count(requests=1, heads=asked + len(head))

    def _send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.ranges.count(body=len(data))


def _part_head(begin: int, end: int, length: int) -> bytes:
    """Before one of several parts (RFC 9110, section 14.6)."""
    kind, place = "Content-Type: application/octet-stream", f"Content-Range: bytes {begin}-{end - 1}/{length}"
    return f"\r\n--{BOUNDARY}\r\n{kind}\r\n{place}\r\n\r\n".encode()


def _wanted(field: str | None, length: int) -> list[tuple[int, int]] | None:
    """Parts of a file by their first byte and that after their last one (RFC 9110, section 14.1.2)."""
    if field is None or not field.startswith("bytes="):
        return None
    parts = []
    for first, last in re.findall(r"(\d*)-(\d*)", field):
        begin = int(first) if first else length - int(last)
        parts.append((begin, min(int(last) + 1, length) if first and last else length))
    return parts
