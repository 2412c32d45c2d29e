"""The check of built files, on files from real compilers. binutils' readelf judges what they
need."""

import os
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import ARCHITECTURES, Refusal, elf

HERE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER = {"arm64": "x86_64", "x86_64": "arm64"}[HERE]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[2] / "target"))

linux = pytest.mark.skipif(platform.system() != "Linux", reason="this system's programs are not ELF files")


def compiled(folder: Path, source: str, *options: str) -> Path:
    program = folder / "program"
    (folder / "program.c").write_text(source)
    subprocess.run(["cc", "-o", program, folder / "program.c", *options], check=True)
    return program


@pytest.fixture(scope="module")
def hello(tmp_path_factory) -> bytes:
    return compiled(tmp_path_factory.mktemp("hello"), '#include <stdio.h>\nint main(void) { return puts("GLIBC_2.99") < 0; }').read_bytes()


def by_readelf(file: Path) -> tuple[set[str], set[str]]:
    """The libraries and the versions of glibc that a file needs."""
    said = subprocess.run(["readelf", "--wide", "--dynamic", "--version-info", file], capture_output=True, text=True, check=True).stdout
    needs = said.partition("Version needs section")[2]
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", said)), set(re.findall(r"Name: GLIBC_(\S+)", needs))


@linux
@pytest.mark.parametrize("program", ["/bin/true", sys.executable, "rustc", "git", "ssh"])
def test_what_is_needed_is_what_readelf_says(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here")
    file = Path(found).resolve()
    needs = elf.read(file.read_bytes())
    assert (set(needs.libraries), set(needs.glibc)) == by_readelf(file)
    assert needs.libraries and needs.glibc


@linux
def test_the_c_library_itself_is_read():
    """The largest case: it has private versions and its own loader."""
    said = subprocess.run(["cc", "-print-file-name=libc.so.6"], capture_output=True, text=True, check=True).stdout.strip()
    file = Path(said).resolve()
    needs = elf.read(file.read_bytes())
    assert (set(needs.libraries), set(needs.glibc)) == by_readelf(file)
    with pytest.raises(Refusal, match="GLIBC_PRIVATE"):
        elf.check(file.read_bytes(), HERE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_functions_binary(architecture):
    file = TARGET / "lambda" / architecture / "bootstrap"
    if not file.exists():
        pytest.skip(f"none was built for {architecture}: `cdk/bundle {architecture}` builds it")
    needed = elf.check(file.read_bytes(), architecture)
    assert needed is not None and (2, 17) <= needed <= (2, 34), "Rust's own library needs 2.17"
    if shutil.which("readelf"):
        needs = elf.read(file.read_bytes())
        assert (set(needs.libraries), set(needs.glibc)) == by_readelf(file)


@linux
def test_what_only_looks_like_a_version_is_not_needed(hello):
    assert b"GLIBC_2.99" in hello
    assert elf.check(hello, HERE) <= (2, 34)


@linux
@pytest.mark.parametrize("version", ["2.9", "2.33", "2.34", "2.34.1"])
def test_an_older_glibc_will_do(tmp_path, version):
    assert elf.check(needing(tmp_path, version), HERE) >= tuple(map(int, version.split(".")))


@linux
@pytest.mark.parametrize("version", ["2.35", "2.36", "2.100", "3.0"])
def test_a_newer_glibc_is_refused(tmp_path, version):
    with pytest.raises(Refusal, match=f"it needs glibc {re.escape(version)}, Lambda's runtime has 2.34"):
        elf.check(needing(tmp_path, version), HERE)


@linux
@pytest.mark.parametrize("version", ["ABI_NEW", "PRIVATE", "2.x", "2"])
def test_what_is_no_number_is_refused(tmp_path, version):
    with pytest.raises(Refusal, match=f"it needs GLIBC_{version}, which Lambda's runtime isn't known to have"):
        elf.check(needing(tmp_path, version), HERE)


def needing(folder: Path, version: str) -> bytes:
    """A program that needs `version` of glibc, from a library that takes the place of one of
    glibc's."""
    (folder / "versions").write_text(f"GLIBC_{version} {{ f; }};")
    script = f"-Wl,--version-script={folder / 'versions'}"
    compiled(folder, "int f(void) { return 0; }", "-shared", "-fPIC", script, "-Wl,-soname=libutil.so.1").rename(folder / "libf.so")
    return compiled(folder, "int f(void);\nint main(void) { return f(); }", "-L", str(folder), "-lf").read_bytes()


@linux
def test_a_newer_glibc_without_a_number_is_refused(tmp_path):
    program = compiled(tmp_path, "int main(void) { return 0; }", "-Wl,-z,pack-relative-relocs")
    if "ABI_DT_RELR" not in by_readelf(program)[1]:
        pytest.skip("this linker can't pack relocations")
    with pytest.raises(Refusal, match="needs glibc 2.36"):
        elf.check(program.read_bytes(), HERE)


@linux
def test_another_processor_is_refused(hello):
    with pytest.raises(Refusal, match=f"it is for {HERE}, not {OTHER}"):
        elf.check(hello, OTHER)
    wrong = bytearray(hello)
    wrong[18:20] = ARCHITECTURES[OTHER].machine.to_bytes(2, "little")
    with pytest.raises(Refusal, match=f"it is for {OTHER}, not {HERE}"):
        elf.check(bytes(wrong), HERE)
    wrong[18:20] = (243).to_bytes(2, "little")
    with pytest.raises(Refusal, match=f"it is for machine 243, not {HERE}"):
        elf.check(bytes(wrong), HERE)


@linux
def test_a_static_program_needs_no_glibc(tmp_path):
    for options in (["-static"], ["-static-pie"]):
        assert elf.check(compiled(tmp_path, "int main(void) { return 0; }", *options).read_bytes(), HERE) is None


@linux
def test_another_loader_is_refused(hello):
    loader = ARCHITECTURES[HERE].loader.encode()
    with pytest.raises(Refusal, match="it asks for the loader /lib/ld-musl-x.so.1, Lambda's runtime has /lib"):
        elf.check(hello.replace(loader, b"/lib/ld-musl-x.so.1".ljust(len(loader), b"\0")), HERE)


@linux
def test_another_library_is_refused(tmp_path):
    compiled(tmp_path, '#include <stdio.h>\nint f(void) { return puts(""); }', "-shared", "-fPIC").rename(tmp_path / "libf.so")
    with pytest.raises(Refusal, match="it is a shared library, not an executable"):
        elf.check((tmp_path / "libf.so").read_bytes(), HERE)
    program = compiled(tmp_path, "int f(void);\nint main(void) { return f(); }", "-L", str(tmp_path), "-lf")
    with pytest.raises(Refusal, match="it needs libf.so, which Lambda's runtime doesn't have"):
        elf.check(program.read_bytes(), HERE)


@linux
def test_an_object_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="not an executable"):
        elf.check(compiled(tmp_path, "int main(void) { return 0; }", "-c").read_bytes(), HERE)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\nexec true\n", "not an ELF file"),
        (b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", "a Mach-O file, for macOS"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "a Mach-O file, for macOS"),
        (b"MZ\x90\x00", "not an ELF file"),
        (b"\x7fELF\x01\x01\x01", "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x02\x01", "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x01\x01", "damaged"),
    ],
)
def test_what_is_no_executable_is_refused(content, why):
    with pytest.raises(Refusal, match=why):
        elf.check(content, "x86_64")


@linux
def test_damage_is_refused_or_harmless(hello):
    """Whatever is cut off or changed, the result is a version or a one-line refusal."""
    chance = random.Random(1)
    damaged = [hello[:length] for length in range(0, len(hello), 97)]
    for _ in range(2_000):
        changed = bytearray(hello)
        for _ in range(chance.randint(1, 3)):
            # Most of what the check reads is at the beginning.
            changed[chance.randrange(chance.choice([0x40, 0x400, 0x1000, len(hello)]))] = chance.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        try:
            elf.check(content, HERE)
        except Refusal as refusal:
            assert "\n" not in str(refusal)
            refused += 1
    assert refused > len(damaged) / 10
