"""The clients under attack. Each updates and fetches one target, in a process of its own whose time
and memory are measured."""

import itertools
import json
import select
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from . import tough_device
from .device_program import PROGRAM as DEVICE
from .tuf_js import PROGRAM as TUF_JS

RUNNER = Path(__file__).with_name("attack_runner.py")

MIB = 1024


@dataclass(frozen=True)
class Outcome:
    """The result of one run of a client."""

    # The target's bytes; an empty list if the client says that there is no such target; `None` if
    # it failed or was stopped.
    found: bytes | list | None
    says: str
    status: int
    hangs: bool
    seconds: float
    kib: int


class Program:
    """A program that reads jobs, one a line, and answers them in any order."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.numbers = itertools.count()
        self.waiting: dict[int, Future[dict]] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, job: dict) -> dict:
        answer: Future[dict] = Future()
        with self.lock:
            number = next(self.numbers)
            self.waiting[number] = answer
            self.process.stdin.write(json.dumps(job | {"id": number}) + "\n")
            self.process.stdin.flush()
        return answer.result()

    def _listen(self) -> None:
        for line in self.process.stdout:
            answer = json.loads(line)
            self.waiting.pop(answer.pop("id")).set_result(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Client:
    """One kind of client. A folder holds the state of one device."""

    name: str
    # The limits of a run: in seconds, and in KiB of peak memory.
    seconds: float = 10
    kib: int = 512 * MIB
    ready: tuple[str, ...] = ()
    # Whether the client supports TAP 15.
    succinct = True
    # The pool that runs it, if not the row's.
    pool = ""

    def __init__(self) -> None:
        # Without modules that it doesn't need (`-S`, `-E`), to stay small.
        options = () if self.ready else ("-S", "-E")
        self.runner = Program(sys.executable, *options, str(RUNNER), *self.ready)

    def job(self, folder: Path, url: str, root: Path, name: str) -> dict:
        raise NotImplementedError

    def found(self, folder: Path, said: str) -> bytes | list:
        raise NotImplementedError

    def run(self, folder: Path, url: str, root: Path, name: str) -> Outcome:
        out, err = folder / "stdout", folder / "stderr"
        limits = {"out": str(out), "err": str(err), "seconds": self.seconds}
        told = self.runner.ask(self.job(folder, url, root, name) | limits)
        says = err.read_text(errors="backslashreplace")
        found = self.found(folder, out.read_text()) if told["status"] == 0 else None
        return Outcome(found, says, **told)

    def copy(self, known: Path, folder: Path) -> None:
        """Makes another device in the same state."""
        shutil.copytree(known, folder, symlinks=True)

    def close(self) -> None:
        self.runner.close()


class TuflineDevice(Client):
    name = "tufline-device"
    seconds = 60
    # With the pages of a debug build, some 20 MiB; the document itself takes 30 times its 2 MB at
    # most (device/client/tests/memory.rs).
    kib = 80 * MIB
    # More than `kib`, so that a client that takes too much is reported rather than killed.
    memory = 4 << 30
    # Further lines of its configuration.
    more = ""

    def job(self, folder: Path, url: str, root: Path, name: str) -> dict:
        config = folder / "device.toml"
        if not (token := folder / "token").exists():
            token.write_text("secret")
        config.write_text(
            f"metadata-dir = '{folder / 'metadata'}'\nroot = '{root}'\n"
            f"metadata-url = '{url}/metadata'\ntargets-url = '{url}/targets'\n"
            f"identity.token = '{token}'\ntries = 2\ndeadline = 40\n"
            + self.more.format(url=url)
        )
        argv = [str(DEVICE), "--config", str(config), "fetch", name, "--out", str(self.out(folder)), "--json"]
        return {"argv": argv, "memory": self.memory}

    def found(self, folder: Path, said: str) -> bytes | list:
        return self.out(folder).read_bytes()

    def run(self, folder: Path, url: str, root: Path, name: str) -> Outcome:
        outcome = super().run(folder, url, root, name)
        if outcome.status == 1 and json.loads((folder / "stdout").read_text()).get("kind") == "no-such-target":
            return replace(outcome, found=[])
        return outcome

    @staticmethod
    def out(folder: Path) -> Path:
        return folder / "out" / "target"

    @staticmethod
    def state(folder: Path) -> dict[str, bytes]:
        """The files that it keeps, except the lock."""
        return {path.name: path.read_bytes() for path in sorted((folder / "metadata").iterdir()) if path.name != "lock"}


class PackedDevice(TuflineDevice):
    """tufline-device, asking for a pack first."""

    name = "tufline-device, packs"
    more = "pack-url = '{url}/pack'\n"


class Tough(Client):
    name = "tough"
    succinct = False
    # tough waits before each retry, and reads all roles.
    pool = "patient"

    def job(self, folder: Path, url: str, root: Path, name: str) -> dict:
        argv = tough_device.command(folder, root, f"{url}/metadata/", f"{url}/targets/", name, folder / "target")
        return {"argv": argv, "memory": 4 << 30}

    def found(self, folder: Path, said: str) -> bytes | list:
        return (folder / "target").read_bytes()

    def run(self, folder: Path, url: str, root: Path, name: str) -> Outcome:
        outcome = super().run(folder, url, root, name)
        return replace(outcome, found=[]) if outcome.status == tough_device.NO_SUCH_TARGET else outcome


class PythonTuf(Client):
    name = "python-tuf"
    ready = ("tuf",)

    def job(self, folder: Path, url: str, root: Path, name: str) -> dict:
        tuf = {"metadata": str(folder / "metadata"), "downloads": str(folder / "downloads"), "url": url, "root": str(root), "name": name}
        return {"tuf": tuf, "memory": 4 << 30}

    def found(self, folder: Path, said: str) -> bytes | list:
        path = json.loads(said)
        return Path(path).read_bytes() if path else []


class TufJs(Client):
    """tuf-js, in processes that play one device after another, since starting Node.js takes longer
    than everything else. A process that hung or grew is not used again."""

    name = "tuf-js"

    def __init__(self) -> None:
        self.idle: list[subprocess.Popen] = []

    def run(self, folder: Path, url: str, root: Path, name: str) -> Outcome:
        request = {
            "metadata_url": f"{url}/metadata",
            "targets_url": f"{url}/targets",
            "root": str(root),
            "folder": str(folder),
            "names": [name],
            "download": True,
        }
        process = self._process()
        # From here on the kernel measures the peak (proc(5)).
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        began = time.monotonic()
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        ended, _, _ = select.select([process.stdout], [], [], self.seconds)
        seconds, kib = time.monotonic() - began, self._peak(process)
        answer = json.loads(process.stdout.readline() or '{"error": "it died"}') if ended else {"error": "it hangs"}
        if ended and kib < 200 * MIB and process.poll() is None:
            self.idle.append(process)
        else:
            self._end(process)
        if "error" in answer:
            return Outcome(None, answer["error"], 1, not ended, seconds, kib)
        (found,) = answer.values()
        return Outcome(Path(found["path"]).read_bytes() if found else [], "", 0, False, seconds, kib)

    def _process(self) -> subprocess.Popen:
        try:
            return self.idle.pop()
        except IndexError:
            command = ["node", "--max-old-space-size=512", str(TUF_JS)]
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def _peak(process: subprocess.Popen) -> int:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        process.kill()
        process.communicate()

    def close(self) -> None:
        for process in self.idle:
            self._end(process)
