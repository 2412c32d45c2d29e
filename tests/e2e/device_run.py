"""A device that `tufline-device run` keeps up to date. Its system is a file, and its commands write
a log."""

import json
import os
import signal
import subprocess
from pathlib import Path

from .device_program import DeviceProgram

NAME = "gateway/firmware.bin"

# The exit codes of `run --once`.
DONE, FAILED, MISUSED, NOT_INSTALLED, WAITS = range(5)

# The install command. It fails as often as `fails` has lines, asks for a later start while `later`
# exists, and runs as long as `holds` exists.
INSTALL = """#!/bin/sh
set -e
cd "$(dirname "$0")"
echo "begin $TUFLINE_SHA256 $TUFLINE_ATTEMPT" >> log
[ ! -e later ] || exit 75
while [ -e holds ]; do sleep 0.02; done
if [ -s fails ]; then
    sed -i 1d fails
    exit 7
fi
cp -- "$1" system.new
[ ! -e takes ] || sleep "$(cat takes)"
mv system.new system
echo "done $(sha256sum < system | cut -c -64)" >> log
"""

# Exits with 0 if the device runs the given release.
CONFIRM = """#!/bin/sh
cd "$(dirname "$0")"
[ "$(sha256sum < system | cut -c -64)" = "$TUFLINE_SHA256" ]
"""


class RunningDevice(DeviceProgram):
    """`tufline-device run` for the target `NAME`. `run` are lines of the table `[run]`; `settings`
    are those before it."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        metadata_url: str,
        targets_url: str | None = None,
        run: str = "",
        settings: str = "",
        confirms: bool = False,
        name: str = NAME,
    ) -> None:
        self.system, self.status_file, self.errors = folder / "system", folder / "status.json", folder / "errors.log"
        commands = {"install": f"['{self.system}/install', '{{file}}']"}
        if confirms:
            commands["confirm"] = f"['{self.system}/confirm']"
        table = [f"target = '{name}'", f"status = '{self.status_file}'", *(f"{key} = {command}" for key, command in commands.items())]
        super().__init__(folder, root, metadata_url, targets_url, "\n".join([settings, "[run]", *table, run]))
        self.system.mkdir()
        for script, text in (("install", INSTALL), ("confirm", CONFIRM)):
            (self.system / script).write_text(text)
            (self.system / script).chmod(0o755)
        (self.system / "system").write_bytes(b"factory")
        self.process: subprocess.Popen | None = None

    def once(self) -> int:
        """Runs one check, and returns its exit code."""
        done = self.run("run", "--once")
        with self.errors.open("a") as errors:
            errors.write(done.stderr)
        return done.returncode

    def start(self, **variables: str) -> None:
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                self.command("run"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **variables}
            )

    def kill(self) -> None:
        """Sends SIGKILL to the program alone: its install command continues."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Sends SIGTERM, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Ends it, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def log(self) -> list[str]:
        path = self.system / "log"
        return path.read_text().splitlines() if path.exists() else []

    def done(self) -> list[str]:
        """The digests that its install command installed."""
        return [line.removeprefix("done ") for line in self.log() if line.startswith("done ")]

    def begun(self) -> list[tuple[str, int]]:
        """The digests for which the install command was started, each with the number of the try
        that it was given."""
        return [(digest, int(number)) for what, digest, *rest in map(str.split, self.log()) if what == "begin" for number in rest]

    def status(self) -> dict:
        return json.loads(self.status_file.read_text())

    def events(self) -> list[str]:
        return [line.removeprefix("tufline-device: ") for line in self.errors.read_text().splitlines()]

    def journal(self) -> dict:
        return json.loads((self.metadata / "run.journal").read_text())

    def waiting_files(self) -> list[Path]:
        return [path for path in (self.metadata / "download").rglob("*") if path.is_file()]
