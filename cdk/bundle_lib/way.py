"""Which compiler builds for which architecture on which system. Pure: what is decided follows from what is given."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from . import ARCHITECTURES, Refusal

# Debian 12's. What its compiler makes of these sources needs glibc 2.34: this was tried, and is checked each time. From 2.38
# on much of C needs that: `strtol` becomes `__isoc23_strtol` (https://sourceware.org/glibc/wiki/Release/2.38).
NEWEST_HOST_GLIBC = (2, 36)


@dataclass(frozen=True)
class Host:
    """The system that builds."""

    # As `platform.system()` names it.
    system: str
    # Lambda's name of its processor, None for any other.
    architecture: str | None
    # None: it has another C library, as macOS has.
    glibc: tuple[int, ...] | None
    # Which of Rust's targets are installed.
    targets: frozenset[str]


class Way(enum.Enum):
    """What compiles C and links."""

    HOST = "the system's compiler"
    ZIG = "zig"


def choose(architecture: str, host: Host, zig: bool = False) -> Way:
    """The system's compiler where what it makes runs on Lambda, else zig, which knows every glibc; `zig` asks for zig."""
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
