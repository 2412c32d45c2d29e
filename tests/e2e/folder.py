"""The embedded form: `tufline local` on a folder."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cloud_lib.emulator import free_port

from .form import ATTENTION, DONE, TUFLINE, Form
from .polling import until


class FolderForm(Form):
    """A `tufline local` with its own data folder, on a port that survives restarts."""

    kind = "folder"

    def __init__(self, scratch: Path, uploads: Path | None = None, config: str = "", data: Path | None = None, bins: int = 1) -> None:
        super().__init__(scratch)
        self.data = data or scratch / "data"
        self.uploads = uploads or self.data / "uploads"
        self.bins = bins
        self.listen = f"127.0.0.1:{free_port()}"
        self.log = scratch / "local.log"
        self.process: subprocess.Popen | None = None
        if config:
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / "config.toml").write_text(config)

    def command(self) -> list[str]:
        """The command that starts it."""
        where = ["--data", str(self.data), "--uploads", str(self.uploads), "--listen", self.listen]
        return [str(TUFLINE), "local", *where, "--bins", str(self.bins)]

    def start(self, output: IO | None = None, errors: IO | None = None, most_open_files: int | None = None) -> "FolderForm":
        """Starts it and waits until it is ready. Its outputs go to `output` and `errors`, or to a
        file. It may open at most `most_open_files` files."""
        endpoints = self.data / "endpoints.json"
        endpoints.unlink(missing_ok=True)  # of a process that was killed
        limited = ["prlimit", f"--nofile={most_open_files}"] if most_open_files else []
        with self.log.open("ab") as log:
            where = {"stdin": subprocess.DEVNULL, "stdout": output or log, "stderr": errors or log}
            self.process = subprocess.Popen([*limited, *self.command()], **where)

        def ready() -> bool:
            assert self.process.poll() is None or self._ended(), "it is running"
            return endpoints.exists()

        until("ready", ready, 30, 0.005)
        self.endpoints = json.loads(endpoints.read_text())
        return self

    def _ended(self) -> bool:
        raise RuntimeError(f"tufline local ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Sends SIGKILL: nothing is finished or cleaned up."""
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends the process during the block: it signs and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Sends SIGTERM, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def close(self) -> None:
        """Stops it in any state."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def path(self, name: str) -> Path:
        """The file of an upload."""
        return self.uploads / name

    def put(self, name: str, data: bytes, custom: str | None = None) -> None:
        """Uploads by a rename, so that the file counts at once. The side file comes first."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if custom is not None:
            self.side_file(name).write_text(custom)
        hidden = path.parent / f".{os.urandom(8).hex()}"
        hidden.write_bytes(data)
        hidden.rename(path)

    def put_file(self, name: str, path: Path) -> None:
        """Writes the file in place, as `cp` does."""
        place = self.path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)

    def remove(self, name: str) -> None:
        self.path(name).unlink()

    def deliver(self, role: str, data: bytes) -> None:
        place = self.data / "delegations" / f"{role}.json"
        hidden = place.parent / f".{os.urandom(8).hex()}"
        hidden.write_bytes(data)
        hidden.rename(place)

    def side_file(self, name: str) -> Path:
        """The side file with an upload's custom metadata."""
        return self.uploads / f"{name}.tuf.json"

    def place(self, name: str) -> str:
        return f"{self.uploads}/{name}"

    def events(self) -> list[dict]:
        # A line that is still being written has no end yet.
        whole, _, _ = (self.data / "events.jsonl").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def blobs(self) -> set[str]:
        return {path.name for path in (self.data / "repository" / "blobs").rglob("*") if path.is_file()}

    def manifests(self, after: int = 0) -> list[dict]:
        manifests = sorted((self.data / "ledger" / "generations").glob("*.json"))
        return [json.loads(path.read_text()) for path in manifests if int(path.stem) > after]

    def metadata(self) -> dict[str, str]:
        """The current digest of each metadata file except the timestamp."""
        found = {}
        for path in (self.data / "repository" / "metadata").glob("*.*.json"):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def metadata_contents(self) -> dict[str, int]:
        raise NotImplementedError("a folder keeps no history: it is watched instead")

    def status(self) -> dict:
        """The answer of `tufline status --json`."""
        done = self.tufline("status", "--json")
        status = json.loads(done.stdout)
        assert done.returncode == (ATTENTION if status["attention"] else DONE), done.stderr
        return status

    def troubles(self) -> dict[str, str]:
        """What fails, and why."""
        return {trouble["what"]: trouble["why"] for trouble in self.status()["troubles"]}

    def connection(self, operator: bool) -> list[object]:
        return ["--endpoints", self.data / "endpoints.json"]
