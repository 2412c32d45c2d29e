"""Arguments that are no files: a pipe that nobody writes to, a socket, a folder, a device. They are
refused at once."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from .folder import FolderForm
from .form import DONE, FAILED, TUFLINE, run
from .holders import Holder

# The message for each kind.
KINDS = {"fifo": "this pipe", "socket": "a socket", "folder": "a folder", "device": "a device"}


def make(kind: str, path: Path) -> None:
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "socket":
            # The path of a socket must be short
            # (https://man7.org/linux/man-pages/man7/unix.7.html).
            with socket.socket(socket.AF_UNIX) as listener:
                folder = os.open(path.parent, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{folder}/{path.name}")
                os.close(folder)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")


@pytest.fixture
def commands(folder: FolderForm, tmp_path: Path) -> dict[str, list[object]]:
    """Each command that reads a given file; `ODD` stands for it."""
    holder, root, endpoints = Holder("hana", tmp_path), tmp_path / "1.root.json", folder.data / "endpoints.json"
    done = run("root", "init", *holder.key, "--threshold", 1, "--data", tmp_path / "other", "--out", root)
    assert done.returncode == DONE, done.stderr
    there = ["--endpoints", endpoints]
    known = json.loads(endpoints.read_text())
    (tmp_path / "endpoints.json").write_text(json.dumps({**known, "trusted_root": str(tmp_path / "odd" / "vendor.json")}))
    signing = ["--key", holder.pem, "--passphrase-file", holder.passphrase_file]
    second = tmp_path / "2.root.json"
    for command in (["sign", root, *signing], ["next", "--previous", root, "--out", second]):
        done = run("root", *command)
        assert done.returncode == DONE, done.stderr
    return {
        "endpoints": ["status", "--endpoints", "ODD"],
        "key of an operator": ["status", "--stack", "none", "--admin", "ODD"],
        "trusted root": ["wait", "x", "--endpoints", tmp_path / "endpoints.json", "--timeout", 0],
        "shown root": ["root", "show", "ODD"],
        "root before": ["root", "show", second, "--previous", "ODD"],
        "other copy": ["root", "merge", root, "ODD"],
        "signed root": ["root", "sign", "ODD", *signing],
        "private key": ["root", "sign", root, "--key", "ODD", "--passphrase-file", holder.passphrase_file],
        "passphrase": ["root", "sign", root, "--key", holder.pem, "--passphrase-file", "ODD"],
        "new passphrase": ["root", "keygen", "--out", tmp_path / "new.pem", "--passphrase-file", "ODD"],
        "public key": ["root", "add-key", root, "--key", "x=ODD"],
        "newest root": ["root", "next", "--previous", "ODD", "--out", tmp_path / "9.root.json"],
        "published root": ["root", "publish", "ODD", "--data", tmp_path / "other"],
        "upload": ["upload", "ODD", *there],
        "targets": ["targets", "publish", "ODD", *there],
        "signed targets": ["targets", "sign", "ODD", *signing],
        "party's key": ["delegation", "create", "vendor", "--paths", "vendor/*", "--key", "x=ODD", *there],
        "party's document": ["delegation", "sign", "ODD", *signing],
        "root of a mirror": ["mirror", tmp_path / "copy", "--metadata", known["metadata_url"], "--root", "ODD"],
        "root of an import": ["import", known["metadata_url"], "--data", tmp_path / "new", "--root", "ODD"],
        "next root of an import": ["import", known["metadata_url"], "--root", known["trusted_root"], "--data", tmp_path / "new", "--next-root", "ODD"],
        "module of a token": ["root", "sign", root, "--pkcs11-key", "pkcs11:token=a;object=b?module-path=ODD"],
        "configuration": ["local", "--data", tmp_path / "begun", "--listen", "127.0.0.1:0"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_at_once(commands: dict[str, list[object]], tmp_path: Path, kind: str):
    odd = tmp_path / "odd" / "vendor.json"
    odd.parent.mkdir()
    make(kind, odd)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").symlink_to(odd)
    wrong = {}
    for what, command in commands.items():
        arguments = [str(argument).replace("ODD", str(odd)) for argument in command]
        done = run(*arguments)
        expected = {"upload": KINDS[kind].replace("this", "a"), "module of a token": "not a regular file"}.get(what, KINDS[kind])
        if done.returncode != FAILED or done.stderr.count("\n") != 1 or expected not in done.stderr:
            wrong[what] = (done.returncode, done.stderr)
    assert not wrong, json.dumps(wrong, indent=1)


def test_a_document_comes_through_a_pipe(tmp_path: Path):
    """As with `<(command)` in a shell, and from another terminal."""
    holder, root = Holder("hana", tmp_path), tmp_path / "1.root.json"
    done = run("root", "init", *holder.key, "--threshold", 1, "--data", tmp_path / "other", "--out", root)
    assert done.returncode == DONE, done.stderr
    expected = run("root", "show", root).stdout

    def shell(command: str) -> str:
        done = subprocess.run(["bash", "-c", command, "bash", str(TUFLINE), str(root)], capture_output=True, text=True, timeout=60)
        assert done.returncode == DONE, done.stderr
        return done.stdout

    lines = expected.splitlines()[1:]
    for given in ('<(sleep 0.2; cat "$2")', '/dev/stdin < "$2"', '/dev/stdin < <(cat "$2")'):
        assert shell(f'"$1" root show {given}').splitlines()[1:] == lines
    signing = f'"$1" root sign "$2" --key <(cat {holder.pem}) --passphrase-file <(cat {holder.passphrase_file})'
    shell(signing)
    assert json.loads(root.read_text())["signatures"]
