"""The real tuftool, if `tests/bench --only scale` has installed it. It takes minutes to build;
without it, tests use tough, on which it is based (test_import.py)."""

import os
import subprocess
from pathlib import Path

import pytest
from bench_lib.peers import TUFTOOL

from .device import Device, sha256
from .form import DONE, run

pytestmark = pytest.mark.skipif(not TUFTOOL.exists(), reason="tuftool is not installed: `tests/bench --only scale` does it")

EXPIRES = "in 30 days"


class Tuftool:
    """A person who works with tuftool, in their own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def run(self, *arguments: object) -> None:
        done = subprocess.run([TUFTOOL, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)

    def root(self, file: str) -> None:
        """Makes a signed first root; each role's key has the role's name."""
        self.run("root", "init", file)
        self.run("root", "expire", file, EXPIRES)
        for role in ("root", "targets", "snapshot", "timestamp"):
            self.run("root", "set-threshold", file, role, 1)
            self.run("root", "gen-rsa-key", file, f"{role}.pem", "--bits", 3072, "--role", role)
        self.sign(file)

    def sign(self, file: Path | str) -> None:
        self.run("root", "sign", file, "--key", "root.pem", "--ignore-threshold")

    def create(self, root: str, targets: Path, version: int) -> None:
        """Makes a repository of all files in a folder."""
        roles = ("targets", "snapshot", "timestamp")
        keys = [argument for role in roles for argument in ("--key", f"{role}.pem")]
        each = [argument for role in roles for argument in (f"--{role}-expires", EXPIRES, f"--{role}-version", version)]
        self.run("create", "--root", root, *keys, *each, "--add-targets", targets, "--outdir", "repository")

    def download(self, endpoints: dict[str, str], root: str, *names: str) -> dict[str, bytes]:
        """Downloads as a client; it starts from the first root each time."""
        out = self.folder / f"downloaded-{len(os.listdir(self.folder))}"
        urls = ("--metadata-url", endpoints["metadata_url"], "--targets-url", endpoints["targets_url"])
        self.run("download", "--root", root, *urls, *(argument for name in names for argument in ("--target-name", name)), out)
        return {name: (out / name).read_bytes() for name in names}


def test_a_repository_of_two_thousand_targets_moves(make_folder, tmp_path: Path):
    """The root's holder continues with tuftool, and so do devices, some with python-tuf."""
    files = {f"module-{number}.bin": f"{number}".encode() * 50 for number in range(2000)}
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    for name, data in files.items():
        (uploads / name).write_bytes(data)
    holder, form = Tuftool(tmp_path / "holder"), make_folder()
    holder.root("1.root.json")
    holder.create("1.root.json", uploads, version=41)

    def done(*arguments: object) -> None:
        done = run(*arguments, "--data", form.data, cwd=holder.folder)
        assert done.returncode == DONE, (done.stdout, done.stderr)

    done("import", "repository", "--root", "1.root.json")
    holder.sign("2.root.json")
    done("import", "repository", "--root", "1.root.json", "--next-root", "2.root.json")
    form.start()
    form.put("new.bin", b"new")
    device = Device({**form.endpoints, "trusted_root": str(holder.folder / "1.root.json")}, tmp_path)
    expected = {name: sha256(data) for name, data in files.items()} | {"new.bin": sha256(b"new")}
    form.wait_published(expected, device=device)
    wanted = {"new.bin": b"new", "module-1234.bin": files["module-1234.bin"]}
    assert holder.download(form.endpoints, "1.root.json", *wanted) == wanted

    # The next root is made here, signed with tuftool, and published here.
    done("root", "next")
    holder.sign("3.root.json")
    done("root", "publish", "3.root.json")
    assert device.update()._trusted_set.root.version == 3
    assert holder.download(form.endpoints, "1.root.json", *wanted) == wanted
