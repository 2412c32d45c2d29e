"""Archives and checksums, judged by tar and sha256sum."""

import os
import subprocess
import time

import pytest

from . import archive
from bundle_lib import Refusal

FILES = {"tufline": (b"\x7fELF", 0o755), "README.md": (b"read\n", 0o644), "recipes/install": (b"#!/bin/sh\n", 0o755)}


def test_tar_unpacks_what_was_packed(tmp_path):
    (tmp_path / "it.tar.gz").write_bytes(archive.packed("tufline-1", FILES, 1_700_000_000))
    subprocess.run(["tar", "-xzf", "it.tar.gz"], cwd=tmp_path, check=True)
    for path, (content, mode) in FILES.items():
        file = tmp_path / "tufline-1" / path
        assert (file.read_bytes(), file.stat().st_mode & 0o777, file.stat().st_mtime) == (content, mode, 1_700_000_000)
    listed = subprocess.run(["tar", "-tvzf", "it.tar.gz"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert all("0/0" in line for line in listed.splitlines()), "the files belong to root"
    (tmp_path / "bare.tar.gz").write_bytes(archive.packed("", FILES, 0))
    subprocess.run(["tar", "-xzf", "bare.tar.gz"], cwd=tmp_path, check=True)
    assert (tmp_path / "recipes" / "install").is_file()


def test_neither_order_nor_hour_nor_zone_changes_an_archive(monkeypatch):
    first = archive.packed("it", FILES, 1_700_000_000)
    assert first[:10] == bytes.fromhex("1f8b08000000000002ff"), "no name, no time, no system"
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setattr(time, "time", lambda: 1)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    time.tzset()
    assert archive.packed("it", dict(reversed(FILES.items())), 1_700_000_000) == first
    assert archive.packed("it", FILES, 1_700_000_001) != first
    monkeypatch.undo()
    time.tzset()


def test_an_archive_of_another_tool_is_packed_as_ours(tmp_path):
    (tmp_path / "package").mkdir()
    for path in ("b.js", "a.js"):
        (tmp_path / "package" / path).write_text(path)
        (tmp_path / "package" / path).chmod(0o644)
    made = subprocess.run(["tar", "-cz", "--format", "pax", "package"], cwd=tmp_path, check=True, capture_output=True).stdout
    ours = archive.packed("package", {path: (path.encode(), 0o644) for path in ("a.js", "b.js")}, 7)
    assert made != ours and archive.repacked(made, 7) == ours


def test_another_zlib_is_refused():
    archive.refuse_zlib_ng("1.2.13")
    with pytest.raises(Refusal, match="zlib-ng"):
        archive.refuse_zlib_ng("1.3.1.zlib-ng")


def test_sha256sum_checks_the_sums(tmp_path):
    for name in ("b.tar.gz", "a.tar.gz", "a.cdx.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "SHA256SUMS").write_text(archive.sums(tmp_path))
    assert archive.sums(tmp_path) == (tmp_path / "SHA256SUMS").read_text(), "it doesn't list itself"
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    said = subprocess.run(check, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said == "a.cdx.json: OK\na.tar.gz: OK\nb.tar.gz: OK\n"
    (tmp_path / "b.tar.gz").write_text("c")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 1


def test_differences():
    one = "aa  x-arm64.tar.gz\nbb  x-x86_64.tar.gz\ncc  x.tgz\n"
    assert archive.differences(one, one) == []
    assert archive.differences(one, one.replace("bb", "bc")) == ["x-x86_64.tar.gz"]
    assert archive.differences(one, "aa  x-arm64.tar.gz\nbb  x-x86_64.tar.gz\ndd  y.tgz\n") == ["x.tgz", "y.tgz"]
    assert archive.of(one, ["x86_64"]) == "bb  x-x86_64.tar.gz\n", "the package of npm has the functions of both"
    assert archive.of(one, ["arm64", "x86_64"]) == one
