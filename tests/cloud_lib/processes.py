"""The processes of one deployment: started with a mark in their environment, and found again by it.

The emulator starts the functions' processes, and these outlive it if it is killed; so do tools that are cut short.
A mark is passed on to all of them, whatever becomes of their parents, and no process number is ever trusted.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import Refusal

MARK = "TUFLINE_CLOUD_DATA"

# How long a process may take to stop by itself.
GRACE = 3.0


def environment(data: Path, **variables: str) -> dict[str, str]:
    """The environment for a process of this deployment: the mark, `variables`, and little from the caller's, so that
    no AWS profile or proxy of the user's gets in."""
    passed_on = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**passed_on, "HOME": str(data / "home"), "TMPDIR": str(data / "tmp"), MARK: str(data), **variables}


def start(command: list, data: Path, log: Path, variables: dict[str, str], cwd: Path | None = None) -> subprocess.Popen:
    """Starts a process in a session of its own; all that it says goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd or data,
            env=environment(data, **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(command: list, data: Path, log: Path, variables: dict[str, str], cwd: Path | None = None) -> None:
    """Runs a command to its end."""
    finish(start(command, data, log, variables, cwd), log)


def finish(process: subprocess.Popen, log: Path) -> None:
    """Waits for a command that :func:`start` started."""
    if process.wait() != 0:
        raise Refusal(f"`{' '.join(process.args[:3])} …` failed: {last_line(log)} ({log})")


def last_line(log: Path) -> str:
    """What a log ends with."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def running(data: Path) -> dict[int, dict[str, str]]:
    """The running processes of the deployment in `data`, by number, each with its environment.

    A function's process has its stage in `_HANDLER`.
    """
    mark = f"{MARK}={data}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another user's
        if mark in variables:
            pairs = (variable.decode(errors="replace").partition("=") for variable in variables if variable)
            found[int(entry.name)] = {name: value for name, _, value in pairs}
    return found


def stop(data: Path) -> None:
    """Stops all processes of the deployment in `data`: first politely, then not. Returns when none is left."""
    deadline = time.monotonic() + GRACE
    asked: set[int] = set()
    while found := running(data):
        if time.monotonic() > deadline:
            _signal(found, signal.SIGKILL)
        else:
            _signal(found.keys() - asked, signal.SIGTERM)
            asked |= found.keys()
        time.sleep(0.05)


def _signal(pids, number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Guard:
    """Stops the deployment if this program dies before it is ready, however it dies.

    A second process holds one end of a pipe; the other end closes with this program. Unless it was told before that
    all is well, it then stops everything that carries the mark.
    """

    def __init__(self, data: Path) -> None:
        reading, self._writing = os.pipe()
        sys.stdout.flush()
        if os.fork() == 0:
            os.close(self._writing)
            os.setsid()  # Ctrl-C in the terminal is not meant for it.
            try:
                if os.read(reading, 1) == b"":
                    stop(data)
            finally:
                os._exit(0)
        os.close(reading)

    def dismiss(self) -> None:
        """All is ready: the processes stay."""
        os.write(self._writing, b"!")
        os.close(self._writing)
