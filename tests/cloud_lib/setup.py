"""Installs the tests' Python packages, and the npm packages of the CDK app and of a device with
tuf-js: once, and again when a pinned version changes. Also installs missing programs that make
PKCS#11 tokens, copy folders and mount disks for tests.

This module needs only the standard library, since it makes the environment in which everything else
runs.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from . import ROOT, Refusal

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
CDK = ROOT / "cdk"
# Debian's packages, each with one of its programs.
PROGRAMS = {"softhsm2": "softhsm2-util", "opensc": "pkcs11-tool", "rsync": "rsync", "rclone": "rclone", "fuse3": "fusermount3"}
TUF_JS = ROOT / "tests" / "e2e" / "tuf-js"


def setup() -> None:
    """Brings `.venv` and the folders `node_modules` in line with the lock files."""
    _install(REQUIREMENTS, VENV, _python_packages)
    for project in (CDK, TUF_JS):
        _install(project / "package-lock.json", project / "node_modules", lambda: _npm_packages(project))


def install_programs() -> None:
    """Installs missing programs for PKCS#11 tokens, for copying folders and for mounting disks,
    with apt-get."""
    missing = [package for package, program in PROGRAMS.items() if shutil.which(program) is None]
    if not missing:
        return
    # As root, or as a user who becomes root without a password.
    become = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    may = not become or (shutil.which("sudo") and subprocess.run([*become, "true"], capture_output=True).returncode == 0)
    if not may or shutil.which("apt-get") is None:
        names = " ".join(missing)
        raise Refusal(f"the tests need {names}: run `apt-get install {names}` as root, or install your system's equivalents")
    print(f"installing {' '.join(missing)} …", flush=True)
    apt_get = [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]
    with _alone(REQUIREMENTS):
        _run([*apt_get, "update"])
        _run([*apt_get, "install", "--yes", "--no-install-recommends", *missing])


def enter() -> None:
    """Restarts this program in the virtual environment, unless it runs there already."""
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def _install(pins: Path, folder: Path, install) -> None:
    # The stamp says what is installed. It is written last, so that an interrupted installation
    # starts again.
    stamp = folder / ".installed-from"
    wanted = hashlib.sha256(pins.read_bytes() + platform.python_version().encode()).hexdigest()
    with _alone(pins):
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"installing {folder.relative_to(ROOT)} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        install()
        stamp.write_text(wanted)


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Lets one process install while another waits: two tests may start at once."""
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _python_packages() -> None:
    if sys.version_info < (3, 11):
        raise Refusal(f"Python 3.11 or newer is needed, this is {platform.python_version()}")
    # A virtual environment that was made from within another one would depend on that one.
    base = Path(sys.base_prefix) / "bin" / "python3"
    if sys.prefix != sys.base_prefix:
        _run([base, "-m", "venv", VENV])
    else:
        venv.create(VENV, with_pip=True)
    _run([PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", REQUIREMENTS])


def _npm_packages(project: Path) -> None:
    if shutil.which("npm") is None:
        raise Refusal("npm was not found: Node.js 20 or newer is needed for the CDK app and for tuf-js")
    # No package here needs an install script.
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=project)


def _run(command: list, cwd: Path = ROOT) -> None:
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise Refusal(f"`{' '.join(command)}` failed (see above)")
