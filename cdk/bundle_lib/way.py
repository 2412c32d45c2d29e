"""Chooses the compiler for an architecture on a system. A pure function: the result depends only on
the arguments."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from . import ARCHITECTURES, Refusal

# Debian 12's glibc. What its compiler makes of these sources needs glibc 2.34, as a check of each
# build confirms. From 2.38 on, much C code needs that version: `strtol` becomes `__isoc23_strtol`
# (https://sourceware.org/glibc/wiki/Release/2.38).
NEWEST_HOST_GLIBC = (2, 36)


@dataclass(frozen=True)
class Host:
    """The system that runs the build."""

    # As in `platform.system()`.
    system: str
    # Lambda's name of its processor; None for any other processor.
    architecture: str | None
    # None: the system has another C library, as macOS does.
    glibc: tuple[int, ...] | None
    # The installed targets of Rust.
    targets: frozenset[str]


class Way(enum.Enum):
    """The compiler for C, which links too."""

    HOST = "the system's compiler"
    ZIG = "zig"


def choose(architecture: str, host: Host, zig: bool = False) -> Way:
    """Chooses the system's compiler if its result runs on Lambda, else zig, which can target any
    glibc. `zig` asks for zig anyway."""
    if host.system not in ("Linux", "Darwin"):
        raise Refusal(f"the functions are built on Linux and macOS, not on {host.system or 'an unknown system'}: on Windows use WSL")
    if architecture not in ARCHITECTURES:
        raise Refusal(f"no functions can be built for '{architecture}': expected arm64 or x86_64")
    has_glibc = host.glibc is not None and host.glibc <= NEWEST_HOST_GLIBC
    if has_glibc and host.architecture == architecture and not zig:
        return Way.HOST
    triple = ARCHITECTURES[architecture].triple
    if triple not in host.targets:
        raise Refusal(f"Rust's target for {architecture} is missing: run `rustup target add {triple}` in this checkout")
    return Way.ZIG
