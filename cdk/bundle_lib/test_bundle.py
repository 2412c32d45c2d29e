"""The program itself: what it packs, and how it refuses."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from . import Refusal, zig
from .test_elf import HERE, compiled, linux
from .way import Way

PROGRAM = Path(__file__).parents[1] / "bundle"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """The program as a module, with its own target folder."""
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path / "target"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("bundle", str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bundle", loader))
    loader.exec_module(module)
    return module


@linux
def test_what_is_packed(bundle, tmp_path):
    program = compiled(tmp_path, "int main(void) { return 0; }")
    bundle.pack(HERE, "devices", program, Way.HOST)
    folder = tmp_path / "target" / "lambda"
    assert (folder / HERE / "devices" / "bootstrap").read_bytes() == program.read_bytes()
    first = (folder / f"{HERE}-devices.zip").read_bytes()
    with zipfile.ZipFile(folder / f"{HERE}-devices.zip") as archive:
        (entry,) = archive.infolist()
        assert entry.filename == "bootstrap"
        assert entry.external_attr >> 16 == 0o755, "Lambda must be able to run it"
        assert archive.read(entry) == program.read_bytes()
    bundle.pack(HERE, "devices", program, Way.HOST)
    assert (folder / f"{HERE}-devices.zip").read_bytes() == first


@linux
@pytest.mark.parametrize(("way", "advice"), [(Way.HOST, f"cdk/bundle --zig {HERE}"), (Way.ZIG, "RUSTFLAGS")])
def test_a_refused_file_takes_no_other_ones_place(bundle, tmp_path, way, advice):
    bundle.pack(HERE, "devices", compiled(tmp_path, "int main(void) { return 0; }"), Way.HOST)
    before = contents(tmp_path / "target")
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(Refusal, match=f"can't run on Lambda: it is not an ELF file: .*{advice}") as refused:
        bundle.pack(HERE, "devices", text, way)
    assert "\n" not in str(refused.value)
    bundle.LARGEST_ZIP = 100
    with pytest.raises(Refusal, match="more than 100"):
        bundle.pack(HERE, "devices", compiled(tmp_path, "int main(void) { return 1; }"), way)
    assert contents(tmp_path / "target") == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_is_missing_is_said_in_one_line(tmp_path):
    done = subprocess.run([sys.executable, PROGRAM], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cdk/bundle: Rust is missing: install it with rustup, https://rustup.rs\n"


def test_without_a_network_zig_is_refused_and_not_taken_for_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(Refusal, match=r"PIP_INDEX_URL .*\(ERROR: No matching distribution found for cargo-zigbuild==") as refused:
        zig.install(tmp_path / "zig")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "zig" / "installed-from").exists()


def test_without_venv_zig_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(Refusal, match="install python3-venv"):
        zig.install(tmp_path / "zig")
