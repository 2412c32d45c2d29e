"""A web server for a repository in a folder. It counts what devices ask and get, with heads and
bodies apart.

The answers are Tufline's: `functions/serve/benches/packs` answers with the code of the functions
serve and pack. The heads are those of the embedded form; API Gateway's and CloudFront's are longer.
TLS and TCP are not counted.
"""

import email.utils
import json
import re
import subprocess
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

from e2e.network import QuietHandler

from . import scale

FOR_TARGETS = "/targets/"


@dataclass(frozen=True)
class Traffic:
    """The requests and bytes of one check for updates. A client that checks by fetching the target
    fetches it uncounted."""

    requests: int
    body: int
    # Both directions.
    heads: int


class Counting:
    """Serves the repository in `folder`, in one of its states, during the `with` block. `targets`
    has the bytes of targets by their digests."""

    def __init__(self, folder: Path, targets: dict[str, bytes]) -> None:
        self.state = "base"
        self.targets = targets
        self._folder = folder
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"counting": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self.reset()

    def reset(self) -> None:
        self._requests = self._body = self._heads = 0

    def traffic(self) -> Traffic:
        """The traffic since the last reset."""
        return Traffic(self._requests, self._body, self._heads)

    def count(self, head: int, body: int) -> None:
        with self._lock:
            self._requests += 1
            self._heads += head
            self._body += body

    def endpoints(self) -> dict[str, str]:
        urls = {"metadata_url": f"{self.url}metadata/", "targets_url": f"{self.url}targets/", "pack_url": f"{self.url}pack"}
        return {**urls, "trusted_root": str(self._folder / "metadata" / "1.root.json")}

    def __enter__(self) -> "Counting":
        command = [scale.benches()["packs"], "answer", self._folder]
        self._answers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._answers.stdin.close()
        self._answers.wait()

    def answer(self, path: str, query: str, fields: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """The status, header fields and body."""
        request = {"state": self.state, "path": path, "query": query, "fields": fields}
        with self._lock:
            self._answers.stdin.write(json.dumps(request).encode() + b"\n")
            self._answers.stdin.flush()
            head = json.loads(self._answers.stdout.readline())
            return head["status"], head["fields"], self._answers.stdout.read(head["length"])


class _Head:
    """Reads and counts a request's head: these requests have no bodies."""

    def __init__(self, file: object) -> None:
        self._file = file
        self.length = 0

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        self.length += len(line)
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(QuietHandler):
    counting: Counting

    def setup(self) -> None:
        super().setup()
        self.rfile = _Head(self.rfile)

    def do_GET(self) -> None:
        asked, self.rfile.length = self.rfile.length, 0
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if path.startswith(FOR_TARGETS):
            # The digest is in front of the last part of the name, or in front of the whole name, as
            # tough writes it.
            body = self.counting.targets[re.search(r"[0-9a-f]{64}(?=\.)", path)[0]]
            return self._send(200, [("content-length", str(len(body)))], body)
        fields = {name.lower(): value for name, value in self.headers.items()}
        status, answered, body = self.counting.answer(path, url.query, fields)
        length = self._send(status, answered, body)
        return self.counting.count(asked + length, len(body))

    def _send(self, status: int, fields: list[tuple[str, str]], body: bytes) -> int:
        """Returns the length of the head."""
        sent = [*fields, ("date", email.utils.formatdate(usegmt=True))]
        lines = [f"HTTP/1.1 {status} {self.responses[status][0]}", *(f"{name}: {value}" for name, value in sent)]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.wfile.write(head + body)
        return len(head)
