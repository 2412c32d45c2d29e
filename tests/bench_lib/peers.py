"""What other tools take to publish one new target: tuftool 0.17 with its flat `targets.json`,
python-tuf 7 with 256 bins.

Both do the same: with a repository in a folder and its keys in files, they add one target, sign a
new snapshot and a new timestamp, and exit. Each run is a process of its own.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_lib import ROOT, Refusal

from .figures import most_memory
from .names import content, name
from .peer_repository import Layout, PeerRepository
from .python_tuf_publish import LAYOUT as PYTHON_TUF_LAYOUT

TUFTOOL_VERSION = "0.17.0"
PEERS = ROOT / "target" / "peers"
TUFTOOL = PEERS / "bin" / "tuftool"

# A run that takes longer is stopped, in seconds.
LIMIT = 600.0

# The interval between measurements of a run's memory, in seconds.
LOOK = 0.005


@dataclass(frozen=True)
class Run:
    """What a process took, and what it wrote."""

    seconds: float
    cpu_seconds: float
    # Peak resident memory, in bytes.
    memory: int
    # The bytes of new or changed files.
    written: int
    files: int


def install_tuftool() -> None:
    """Builds tuftool, unless it was built before."""
    if TUFTOOL.exists():
        return
    print(f"installing tuftool {TUFTOOL_VERSION} in {PEERS.relative_to(ROOT)}, which takes some minutes …", flush=True)
    command = ["cargo", "install", "tuftool", "--version", TUFTOOL_VERSION, "--locked", "--root", str(PEERS), "--quiet"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Refusal("tuftool could not be installed (see above)")


def tuftool(scratch: Path, targets: int) -> Run | None:
    """One run with this many targets; `None` if it took too long."""
    repository = PeerRepository(scratch / "tuftool", Layout()).make(targets)
    new, out = repository.folder / "new", repository.folder / "out"
    _write_new(new, targets)
    expiries = [f"--{role}-expires=in 7 days" for role in ("targets", "snapshot", "timestamp")]
    versions = [f"--{role}-version=2" for role in ("targets", "snapshot", "timestamp")]
    where = [f"--root={repository.metadata / '1.root.json'}", f"--metadata-url=file://{repository.metadata}"]
    what = [f"--key={repository.folder / 'key.der'}", f"--add-targets={new}", f"--outdir={out}"]
    run = timed([TUFTOOL, "update", *where, *what, *expiries, *versions], out)
    if run is not None and not (out / "metadata" / "2.targets.json").exists():
        raise Refusal("tuftool wrote no new targets")
    shutil.rmtree(repository.folder)
    return run


def python_tuf(scratch: Path, targets: int) -> Run | None:
    """As :func:`tuftool`, with python-tuf."""
    repository = PeerRepository(scratch / "python-tuf", PYTHON_TUF_LAYOUT).make(targets)
    new, target = _write_new(repository.folder / "new", targets), name(targets)
    command = [sys.executable, "-m", "bench_lib.python_tuf_publish", repository.folder, target, new]
    run = timed(command, repository.metadata, {"PYTHONPATH": str(ROOT / "tests")})
    shutil.rmtree(repository.folder)
    return run


def _write_new(folder: Path, targets: int) -> Path:
    """The file of a target that is not yet among these targets."""
    file = folder / name(targets).rpartition("/")[2]
    folder.mkdir()
    file.write_bytes(content(name(targets)))
    return file


def timed(command: Sequence[object], output: Path, variables: dict[str, str] | None = None) -> Run | None:
    """Runs a command that writes to the folder `output`; `None` if it was stopped after `LIMIT`."""
    before = _files(output)
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], env={**os.environ, **(variables or {})})
    # The system's final figure for the memory would include this process, of which the other began
    # as a copy.
    ended, memory = 0, 0
    while not ended:
        memory = max(memory, most_memory(process.pid))
        if time.perf_counter() - began > LIMIT:
            process.kill()
            process.wait()
            return None
        time.sleep(LOOK)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Refusal(f"`{' '.join(map(str, command))}` failed (see above)")
    written = [size for file, (size, when) in _files(output).items() if before.get(file) != (size, when)]
    return Run(seconds, usage.ru_utime + usage.ru_stime, memory, sum(written), len(written))


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
