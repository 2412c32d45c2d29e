"""The processes of one deployment. They start with a mark in their environment, by which they are
found again.

The emulator starts the functions' processes, and these outlive it if it is killed, as do
interrupted tools. All of them inherit the mark, whatever happens to their parents. So this module
never relies on a stored process number.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import Refusal

MARK = "TUFLINE_CLOUD_DATA"

# How long a process may take to stop by itself, in seconds.
GRACE = 3.0


def environment(data: Path, **variables: str) -> dict[str, str]:
    """The environment for a process of this deployment: the mark, `variables`, and little of the
    caller's environment, so that the user's AWS profile or proxy has no effect."""
    passed_on = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**passed_on, "HOME": str(data / "home"), "TMPDIR": str(data / "tmp"), MARK: str(data), **variables}


def start(command: list, data: Path, log: Path, variables: dict[str, str], cwd: Path | None = None) -> subprocess.Popen:
    """Starts a process in its own session, with its output in `log`."""
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
    """Runs a command and waits for its end."""
    finish(start(command, data, log, variables, cwd), log)


def finish(process: subprocess.Popen, log: Path) -> None:
    """Waits for a command that :func:`start` started."""
    if process.wait() != 0:
        raise Refusal(f"`{' '.join(process.args[:3])} …` failed: {last_line(log)} ({log})")


def last_line(log: Path) -> str:
    """The last line of a log."""
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
    """Stops all processes of the deployment in `data`, with SIGTERM and after a while with SIGKILL.
    Returns when none is left."""
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

    A second process holds one end of a pipe; the other end closes with this program. Unless
    `dismiss` was called before that, the second process then stops everything that has the mark.
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
        """Leaves the processes running: everything is ready."""
        os.write(self._writing, b"!")
        os.close(self._writing)
