"""Publishes one new target with python-tuf into a repository of 256 bins, as a process of its own.

This follows python-tuf's own example for bins (`examples/manual_repo/hashed_bin_delegation.py`),
but with an existing repository: it reads the bin that lists the target, the snapshot and the
timestamp, and writes them again.

    python -m bench_lib.python_tuf_publish FOLDER TARGET FILE
"""

import sys
from pathlib import Path

from bench_lib.peer_repository import Layout, PeerRepository

LAYOUT = Layout(256, succinct=True)

if __name__ == "__main__":
    folder, target, file = sys.argv[1:]
    PeerRepository(Path(folder), LAYOUT).set(target, Path(file).read_bytes())
