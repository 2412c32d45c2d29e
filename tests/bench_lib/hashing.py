"""How fast the embedded form reads and hashes an upload, compared with `openssl dgst -sha256` on
the same bytes in the same run."""

import os
import re
import subprocess
import time
from pathlib import Path

from cloud_lib import Refusal
from e2e.folder import FolderForm

from .figures import megabytes

LENGTH = 2 << 30
# The two take turns, so that other load on the machine affects both.
ROUNDS = 5

CONFIG = "hashing = \"stream\"\n[large_uploads]\n"
READ = re.compile(r"upload read.*length=(\d+).* took=([\d.e-]+)")


def hashing(scratch: Path) -> list[tuple[str, str, str]]:
    """The rows about reading. They have the best round of each, since other load can only slow a
    round down."""
    os.environ["RUST_LOG"] = "tufline_pipeline=info"
    folder = FolderForm(scratch / "hashing", config=CONFIG)
    folder.scratch.mkdir(exist_ok=True)
    folder.start()
    try:
        # Names that begin with a dot are not uploads.
        file = folder.uploads / ".random"
        with file.open("wb") as to:
            for _ in range(LENGTH >> 20):
                to.write(os.urandom(1 << 20))
        theirs, ours = [], []
        for number in range(ROUNDS):
            seconds, digest = openssl(file)
            theirs.append(seconds)
            file = file.rename(folder.uploads / f"round-{number}")
            ours.append(tufline(folder, file.name, digest, number))
        peak = most_memory(folder.process.pid)
    finally:
        folder.close()
        del os.environ["RUST_LOG"]
    best, reference = min(ours), min(theirs)
    rate = f"{LENGTH / best / 1e6:,.0f} MB/s, {reference / best:.2f} × openssl's {LENGTH / reference / 1e6:,.0f} MB/s"
    return [
        (f"hashing: {LENGTH >> 30} GiB of random bytes, read in pieces", rate, "≥ 0.9 × openssl"),
        ("hashing: most memory of the process, ever", megabytes(peak), "≤ 64 MB"),
    ]


def openssl(file: Path) -> tuple[float, str]:
    """The seconds and the digest."""
    started = time.perf_counter()
    done = subprocess.run(["openssl", "dgst", "-sha256", "-r", str(file)], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout.split()[0]


def tufline(folder: FolderForm, name: str, digest: str, before: int) -> float:
    """The seconds of the run that read the upload, from the log. `before` is the number of earlier
    reads."""
    folder.wait_published({name: digest}, seconds=600)
    runs = READ.findall(folder.log.read_text())[before:]
    if [int(length) for length, _ in runs] != [LENGTH]:
        raise Refusal(f"not one upload of {LENGTH} bytes was read in one run: {runs}")
    return float(runs[0][1])


def most_memory(pid: int) -> int:
    """The peak resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
