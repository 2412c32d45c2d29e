"""`tufline-device`, the client for devices."""

import json
import os
import subprocess
from pathlib import Path

from .form import TUFLINE

PROGRAM = Path(os.environ.get("TUFLINE_DEVICE_BIN", TUFLINE.with_name("tufline-device"))).resolve()

# Nothing listens at this address: a device that succeeds has everything from elsewhere.
NOWHERE = "http://127.0.0.1:9/"

# Its exit codes.
DONE, FAILED, MISUSED = 0, 1, 2


class DeviceProgram:
    """A device with `tufline-device`, which keeps its metadata below `folder`. `settings` are lines
    of TOML."""

    def __init__(self, folder: Path, root: Path, metadata_url: str, targets_url: str | None = None, settings: str = "") -> None:
        self.folder, self.metadata = folder, folder / "metadata"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"metadata-dir = '{self.metadata}'", f"metadata-url = '{metadata_url}'", f"root = '{root}'"]
        if targets_url is not None:
            lines.append(f"targets-url = '{targets_url}'")
        self.config = folder / "device.toml"
        self.config.write_text("\n".join([*lines, settings]))

    def command(self, *arguments: object) -> list[str]:
        return [str(PROGRAM), "--config", str(self.config), "--json", *map(str, arguments)]

    def run(self, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess:
        """Runs the program and waits for its end."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=timeout)

    def answer(self, *arguments: object) -> dict:
        """The answer of a run that succeeds."""
        done = self.run(*arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def failure(self, *arguments: object) -> dict:
        """The answer of a run that fails: one line for people, and the same for programs."""
        failed = self.run(*arguments)
        assert failed.returncode == FAILED, (failed.returncode, failed.stdout, failed.stderr)
        told = json.loads(failed.stdout)
        assert failed.stderr == f"tufline-device: {told['error']}\n", failed.stderr
        return told

    def fetch(self, name: str, out: Path) -> dict:
        return self.answer("fetch", name, "--out", out)["fetched"][0]

    def stored(self) -> dict[str, bytes]:
        """The documents that it stores."""
        return {path.name: path.read_bytes() for path in self.metadata.glob("*.json")}
