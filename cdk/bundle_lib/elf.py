"""Reads what an executable needs from the system that runs it.

This reads the program headers, as Linux's loader does. The loader ignores sections, so they may be
missing or say something else. Formats: <https://gabi.xinuos.com/elf/>, and for versions
<https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from . import ARCHITECTURES, NEWEST_GLIBC, Refusal, dotted

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF
_ET_EXEC, _ET_DYN = 2, 3

_MACH_O = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_MACHINES = {architecture.machine: name for name, architecture in ARCHITECTURES.items()}

# The libraries of the packages `glibc` and `libgcc`. `provided.al2023` is based on Amazon Linux's
# minimal container image (<https://docs.aws.amazon.com/linux/al2023/ug/minimal-container.html>),
# which has these two packages
# (<https://docs.aws.amazon.com/linux/al2023/ug/al2023-container-image-types.html>). The image has
# other libraries too, but nothing promises them.
_LIBRARIES = {
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
}

# An executable with packed relative relocations has this name in place of a version:
# https://sourceware.org/glibc/wiki/Release/2.36
_NAMED = {"ABI_DT_RELR": (2, 36)}


@dataclass(frozen=True)
class Needs:
    """The needs that a program's headers state."""

    machine: int
    # None: the program is linked statically.
    loader: str | None
    libraries: tuple[str, ...]
    # The versions of glibc without which the loader refuses the program, without the prefix
    # `GLIBC_`.
    glibc: tuple[str, ...]


def check(content: bytes, architecture: str) -> tuple[int, ...] | None:
    """Returns the oldest glibc with which the executable runs, or None if it needs none. Refuses an
    executable that can't run on Lambda."""
    needs = read(content)
    wanted = ARCHITECTURES[architecture]
    if needs.machine != wanted.machine:
        raise Refusal(f"it is for {_MACHINES.get(needs.machine, f'machine {needs.machine}')}, not {architecture}")
    if needs.loader is None:
        if needs.libraries:
            raise Refusal("it is a shared library, not an executable")
        return None
    if needs.loader != wanted.loader:
        raise Refusal(f"it asks for the loader {needs.loader}, Lambda's runtime has {wanted.loader}")
    strange = sorted(set(needs.libraries) - _LIBRARIES - {wanted.loader.rpartition("/")[2]})
    if strange:
        raise Refusal(f"it needs {', '.join(strange)}, which Lambda's runtime doesn't have")
    newest = max(map(_number, needs.glibc), default=(0,))
    if newest[:2] > NEWEST_GLIBC:
        raise Refusal(f"it needs glibc {dotted(newest)}, Lambda's runtime has {dotted(NEWEST_GLIBC)}")
    return newest


def _number(version: str) -> tuple[int, ...]:
    if re.fullmatch(r"\d+(\.\d+)+", version):
        return tuple(map(int, version.split(".")))
    if version in _NAMED:
        return _NAMED[version]
    raise Refusal(f"it needs GLIBC_{version}, which Lambda's runtime isn't known to have")


def read(content: bytes) -> Needs:
    """Reads an executable for a 64-bit little-endian processor, as all of Lambda's are."""
    if content.startswith(_MACH_O):
        raise Refusal("it is a Mach-O file, for macOS, not an ELF file")
    if not content.startswith(b"\x7fELF"):
        raise Refusal("it is not an ELF file")
    if content[4:6] != b"\x02\x01":
        raise Refusal("it is not a 64-bit little-endian ELF file")
    try:
        return _read(content)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise Refusal(f"it is a damaged ELF file: {error}") from error


def _read(content: bytes) -> Needs:
    kind, machine = struct.unpack_from("<HH", content, 16)
    if kind not in (_ET_EXEC, _ET_DYN):
        raise Refusal("it is an ELF file, but not an executable")
    (headers,) = struct.unpack_from("<Q", content, 32)
    length, count = struct.unpack_from("<HH", content, 54)
    loaded: list[tuple[int, int, int]] = []
    dynamic: dict[int, list[int]] = {}
    loader = None
    for place in range(headers, headers + length * count, length):
        segment, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", content, place)
        if segment == _PT_LOAD:
            loaded.append((address, size, offset))
        elif segment == _PT_INTERP:
            loader = _string(content, offset)
        elif segment == _PT_DYNAMIC:
            for entry in range(offset, offset + size, 16):
                tag, value = struct.unpack_from("<QQ", content, entry)
                dynamic.setdefault(tag, []).append(value)

    def at(address: int) -> int:
        """The place in the file from which an address is loaded."""
        for start, size, offset in loaded:
            if start <= address < start + size:
                return offset + address - start
        raise ValueError(f"nothing is loaded at {address:#x}")

    def name(offset: int) -> str:
        return _string(content, at(dynamic[_DT_STRTAB][0]) + offset)

    if _DT_STRTAB not in dynamic:
        return Needs(machine, loader, (), ())
    versions = []
    if _DT_VERNEED in dynamic and _DT_VERNEEDNUM in dynamic:
        place = at(dynamic[_DT_VERNEED][0])
        for _ in range(dynamic[_DT_VERNEEDNUM][0]):
            _, auxiliaries, _, first, following = struct.unpack_from("<HHIII", content, place)
            auxiliary = place + first
            for _ in range(auxiliaries):
                _, _, _, version, step = struct.unpack_from("<IHHII", content, auxiliary)
                versions.append(name(version))
                auxiliary += step
            if not following:
                break
            place += following
    libraries = tuple(name(offset) for offset in dynamic.get(_DT_NEEDED, []))
    return Needs(machine, loader, libraries, tuple(v.removeprefix("GLIBC_") for v in versions if v.startswith("GLIBC_")))


def _string(content: bytes, offset: int) -> str:
    return content[offset : content.index(b"\0", offset)].decode("ascii", "backslashreplace")
