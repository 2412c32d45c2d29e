"""The comparison of two builds, of a checkout whose build takes no time."""

import os
import shutil
import subprocess
import sys

import pytest

from . import ROOT

# A build in place of the real one. It reads FILE, so that a test decides what is in it.
BUILD = """\
#!/usr/bin/env python3
import os, pathlib, sys
sys.dont_write_bytecode = True
from release_lib import archive
out = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "release-files"
out.mkdir(parents=True)
(out / "tufline-1-x86_64.tar.gz").write_text(eval(pathlib.Path("FILE").read_text(), {"here": os.environ["CARGO_HOME"]}))
(out / "tufline-cdk-1.tgz").write_text(" ".join(sys.argv[1:]))
(out / "SHA256SUMS").write_text(archive.sums(out))
"""


@pytest.fixture
def reproduce(tmp_path):
    """Runs `release/reproduce` in a checkout whose build writes a value."""
    checkout = tmp_path / "checkout"
    for folder in ("release", "cdk/bundle_lib"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "release" / "build").write_text(BUILD.replace('"FILE"', f'"{tmp_path / "value"}"'))
    git = ["git", "-c", "user.name=Somebody", "-c", "user.email=somebody@localhost", "-C", checkout]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "All"]):
        subprocess.run([*git, *command], check=True)

    def run(value: str, *arguments) -> subprocess.CompletedProcess:
        (tmp_path / "value").write_text(value)
        environment = {**os.environ, "CARGO_TARGET_DIR": str(tmp_path / "target"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, checkout / "release" / "reproduce", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_equal_builds(reproduce):
    done = reproduce("'same'", "x86_64")
    assert done.returncode == 0, done.stderr
    assert "the digests are equal:\n" in done.stdout and "  tufline-1-x86_64.tar.gz\n" in done.stdout


def test_a_build_that_says_where_it_was_made(reproduce):
    done = reproduce("here", "x86_64")
    assert done.returncode == 1
    assert done.stderr.startswith("release/reproduce: these files differ: tufline-1-x86_64.tar.gz: look at them in ")


def test_a_build_against_published_sums(reproduce, tmp_path):
    reproduce("'same'")
    sums = tmp_path / "SHA256SUMS"
    shutil.copy(next(tmp_path.glob("target/reproduce/first/built/release-files/SHA256SUMS")), sums)
    assert reproduce("'same'", "--sums", sums).returncode == 0
    # The package of npm is another one where only one architecture is built.
    assert reproduce("'same'", "--sums", sums, "x86_64").returncode == 0
    assert "these files differ: tufline-1-x86_64.tar.gz" in reproduce("'other'", "--sums", sums).stderr


def test_a_build_that_fails(reproduce):
    done = reproduce("1 / 0", "x86_64")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("failed (see above)")
