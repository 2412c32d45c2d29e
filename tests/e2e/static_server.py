"""A plain web server for the files of a folder, for people without Tufline."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(SimpleHTTPRequestHandler):
    """A handler that logs no requests."""

    # Device libraries keep connections open.
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        self.server.asked.append(self.path)


class StaticServer:
    """Serves `folder` during the `with` block; `asked` has the requested paths."""

    def __init__(self, folder: Path) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self.server.asked = []
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self) -> "StaticServer":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def asked(self) -> list[str]:
        return self.server.asked
