"""What `cdk/bundle` is made of. It runs with the Python that a system has, 3.9 or newer, and nothing else: macOS brings 3.9."""

from __future__ import annotations

from dataclasses import dataclass


class Refusal(Exception):
    """Why nothing was packed, and what to do, in one line."""


@dataclass(frozen=True)
class Architecture:
    """A processor that Lambda has."""

    # Rust's name of it, with Linux and glibc.
    triple: str
    # `e_machine` of its executables: https://gabi.xinuos.com/elf/a-emachine.html
    machine: int
    # What loads them, by the processor's ABI.
    loader: str


# By the names that Lambda gives them: https://docs.aws.amazon.com/lambda/latest/dg/foundation-arch.html
ARCHITECTURES = {
    "arm64": Architecture("aarch64-unknown-linux-gnu", 183, "/lib/ld-linux-aarch64.so.1"),
    "x86_64": Architecture("x86_64-unknown-linux-gnu", 62, "/lib64/ld-linux-x86-64.so.2"),
}

# What the functions run: each is packed by itself, and built as `tufline-lambda-PROGRAM`.
PROGRAMS = ("pipeline", "devices")

# What `provided.al2023` has: https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
NEWEST_GLIBC = (2, 34)


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
