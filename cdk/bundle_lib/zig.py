"""zig as the compiler: <https://github.com/rust-cross/cargo-zigbuild>, from PyPI, in its own
virtual environment below `target`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from . import Refusal

# The versions and digests of both packages, so that every build uses exactly these.
PINS = Path(__file__).with_name("zig.txt")


def install(folder: Path) -> None:
    """Installs zig and cargo-zigbuild into `folder`, unless they are there."""
    # Written last, so that an interrupted installation starts again.
    stamp = folder / "installed-from"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"installing zig in {folder}: a download of 100 MB, 450 MB on disk …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run(
        [sys.executable, "-m", "venv", folder],
        "Python can't make a virtual environment: install python3-venv (Debian, Ubuntu), or Python from python.org",
    )
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--retries", "1"]
    _run(
        [*pip, "--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", PINS],
        "zig could not be installed from PyPI: go online, or set PIP_INDEX_URL to a mirror;"
        " or build on a system that needs no zig (docs/deploy.md)",
    )
    stamp.write_text(wanted)


def command(folder: Path) -> Path:
    """The command to use in cargo's place, with `zigbuild` as its first argument."""
    return folder / "bin" / "cargo-zigbuild"


def variables(folder: Path) -> dict[str, str]:
    """The environment in which cargo-zigbuild finds zig in `folder`, and keeps its caches there."""
    cache = str(folder / "cache")
    return {
        "CARGO_ZIGBUILD_PYTHON_PATH": str(folder / "bin" / "python"),
        "CARGO_ZIGBUILD_CACHE_DIR": cache,
        "ZIG_GLOBAL_CACHE_DIR": cache,
        "ZIG_LOCAL_CACHE_DIR": cache,
    }


def _run(command: list, refusal: str) -> None:
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        said = done.stdout.strip().splitlines()
        raise Refusal(f"{refusal} ({said[-1].strip()})" if said else refusal)
