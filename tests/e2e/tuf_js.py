"""A device with tuf-js's client, which runs in Node.js."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent / "tuf-js" / "device.mjs"


class TufJsDevice:
    """Like `Device`, with tuf-js as the client."""

    def __init__(self, endpoints: dict, folder: Path, headers: dict[str, str] | None = None, limit: float = 120) -> None:
        self.endpoints = endpoints
        self.folder = folder
        self.headers = headers
        # A run that takes longer is stopped, in seconds.
        self.limit = limit

    def find(self, names: Iterable[str]) -> dict[str, str | None]:
        """What this device sees under each name after an update: a SHA-256, or `None` if there is
        no such target."""
        return {name: found and found["sha256"] for name, found in self._ask(list(names), download=False).items()}

    def download(self, name: str) -> Path:
        """Downloads and verifies a target, and returns its path."""
        found = self._ask([name], download=True)[name]
        assert found is not None, f"no target {name}"
        return Path(found["path"])

    def download_bytes(self, name: str) -> bytes:
        """The bytes of a downloaded target."""
        return self.download(name).read_bytes()

    def _ask(self, names: list[str], download: bool) -> dict[str, dict | None]:
        request = {
            "metadata_url": self.endpoints["metadata_url"].rstrip("/"),
            "targets_url": self.endpoints["targets_url"].rstrip("/"),
            "root": self.endpoints["trusted_root"],
            "folder": str(self.folder),
            "names": names,
            "download": download,
            "headers": self.headers,
        }
        done = subprocess.run(["node", str(PROGRAM), json.dumps(request)], capture_output=True, text=True, timeout=self.limit)
        if done.returncode != 0:
            raise TufJsError(done.stderr)
        return json.loads(done.stdout)


class TufJsError(Exception):
    """The error of tuf-js."""
