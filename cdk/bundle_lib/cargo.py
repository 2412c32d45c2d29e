"""Builds programs with cargo, by the system's compiler or by zig, so that no program says where it
was built."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from . import ARCHITECTURES, NEWEST_GLIBC, Refusal, dotted, zig
from .way import Host, Way

ROOT = Path(__file__).resolve().parents[2]

# Lambda's names of processors, by the operating systems' names for them.
MACHINES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64"}


def target() -> Path:
    """Cargo's folder for what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def this_system() -> Host:
    """Describes the system that runs this."""
    targets = []
    for architecture in ARCHITECTURES.values():
        library = _rustc("--print", "target-libdir", "--target", architecture.triple)
        if library and Path(library).is_dir():
            targets.append(architecture.triple)
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # no glibc
        library = ""
    version = library.rpartition(" ")[2]
    glibc = tuple(map(int, version.split("."))) if version else None
    return Host(platform.system(), MACHINES.get(platform.machine()), glibc, frozenset(targets))


def build(architecture: str, way: Way, package: str, profile: str, environment: dict[str, str]) -> dict[str, Path]:
    """Builds the binaries of a package, and returns the path of each by its name. `environment` is
    cargo's."""
    what = ["--profile", profile, "--locked", "--package", package, "--bins"]
    # A user's Cargo configuration may change the target or its folder, so only cargo can tell where
    # the binaries are.
    what += ["--message-format", "json-render-diagnostics"]
    variables = {**environment, **without_paths(environment, places(environment))}
    if way is Way.HOST:
        command = ["cargo", "build", *what]
    else:
        folder = target() / "zig"
        zig.install(folder)
        triple = f"{ARCHITECTURES[architecture].triple}.{dotted(NEWEST_GLIBC)}"
        command = [str(zig.command(folder)), "zigbuild", *what, "--target", triple]
        variables.update(zig.variables(folder))
    built = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Refusal("the build failed (see above)")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return {message["target"]["name"]: Path(message["executable"]) for message in messages if message.get("executable")}


def places(environment: dict[str, str]) -> dict[str, str]:
    """The folders of this machine whose paths compilers write into programs, each with the name
    that they write instead."""
    home = Path(environment.get("CARGO_HOME") or Path.home() / ".cargo")
    given = Path(environment.get("CARGO_TARGET_DIR") or target())
    # Cargo follows no link in these two, and a compiler may.
    found = {str(ROOT): "/tufline"}
    for folder, name in ((given, "/target"), (home, "/cargo")):
        found.update({str(folder.absolute()): name, str(folder.resolve()): name})
    # With the component rust-src, rustc names the standard library's files by where they are.
    # Elsewhere it names them like this: https://rustc-dev-guide.rust-lang.org/backend/libs-and-metadata.html
    commit = next((line.split()[1] for line in _rustc("-vV").splitlines() if line.startswith("commit-hash: ")), "unknown")
    found[f"{_rustc('--print', 'sysroot')}/lib/rustlib/src/rust"] = f"/rustc/{commit}"
    return found


def without_paths(environment: dict[str, str], renamed: dict[str, str]) -> dict[str, str]:
    """The variables that make the compilers of Rust and C write other names for folders, with the
    flags that `environment` has already.

    Both compilers take the last name that fits, so a folder comes after those that it lies in:
    <https://doc.rust-lang.org/rustc/remap-source-paths.html>,
    <https://gcc.gnu.org/onlinedocs/gcc/Overall-Options.html>.
    """
    pairs = [f"{folder}={name}" for folder, name in sorted(renamed.items(), key=lambda pair: len(pair[0]))]
    # Cargo separates encoded flags by this character, and reads RUSTFLAGS only without them:
    # https://doc.rust-lang.org/cargo/reference/config.html#buildrustflags
    encoded = environment.get("CARGO_ENCODED_RUSTFLAGS")
    given = encoded.split("\x1f") if encoded else environment.get("RUSTFLAGS", "").split()
    flags = [*given, *(f"--remap-path-prefix={pair}" for pair in pairs)]
    # The crate cc separates flags by spaces, so it can't take a folder with one.
    for_c = [environment.get("CFLAGS", ""), *(f"-ffile-prefix-map={pair}" for pair in pairs if " " not in pair)]
    return {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags), "CFLAGS": " ".join(filter(None, for_c))}


def _rustc(*arguments: str) -> str:
    """What rustc prints, or nothing if it fails."""
    try:
        done = subprocess.run(["rustc", *arguments], capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:
        raise Refusal("Rust is missing: install it with rustup, https://rustup.rs") from None
    return done.stdout.strip() if done.returncode == 0 else ""
