"""The modules of `cdk/bundle`. They run with a system's own Python, 3.9 or newer, and nothing else;
macOS ships 3.9."""

from __future__ import annotations

from dataclasses import dataclass


class Refusal(Exception):
    """One line that says why nothing was packed, and what to do."""


@dataclass(frozen=True)
class Architecture:
    """A processor architecture of Lambda."""

    # Rust's target triple for it, with Linux and glibc.
    triple: str
    # `e_machine` of its executables: https://gabi.xinuos.com/elf/a-emachine.html
    machine: int
    # The program that loads them, by the processor's ABI.
    loader: str


# By Lambda's names: https://docs.aws.amazon.com/lambda/latest/dg/foundation-arch.html
ARCHITECTURES = {
    "arm64": Architecture("aarch64-unknown-linux-gnu", 183, "/lib/ld-linux-aarch64.so.1"),
    "x86_64": Architecture("x86_64-unknown-linux-gnu", 62, "/lib64/ld-linux-x86-64.so.2"),
}

# The programs of the functions. Each is built as `tufline-lambda-PROGRAM`, and packed by itself.
PROGRAMS = ("pipeline", "devices")

# The glibc of `provided.al2023`: https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
NEWEST_GLIBC = (2, 34)


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def glibc(needed: tuple[int, ...] | None) -> str:
    """Says which glibc a program needs."""
    return "no glibc" if needed is None else f"glibc {dotted(needed)} or newer"
