"""What compilers are told of folders. rustc and the system's C compiler judge."""

import os
import subprocess
from pathlib import Path

from . import cargo

FLAGS, FOR_C = "CARGO_ENCODED_RUSTFLAGS", "CFLAGS"


def test_the_flags_of_the_environment_stay():
    names = {"/home/me/tufline": "/tufline"}
    ours = "--remap-path-prefix=/home/me/tufline=/tufline"
    assert cargo.without_paths({}, names) == {FLAGS: ours, FOR_C: "-ffile-prefix-map=/home/me/tufline=/tufline"}
    assert cargo.without_paths({"RUSTFLAGS": "-C  debuginfo=1"}, names)[FLAGS] == f"-C\x1fdebuginfo=1\x1f{ours}"
    # Cargo reads RUSTFLAGS only if there are no encoded flags.
    both = {"RUSTFLAGS": "-C opt-level=1", FLAGS: "--cfg\x1fa b"}
    assert cargo.without_paths(both, names)[FLAGS] == f"--cfg\x1fa b\x1f{ours}"
    assert cargo.without_paths({"CFLAGS": "-O1"}, names)[FOR_C].startswith("-O1 -ffile")


def test_a_folder_with_a_space_is_for_rust_alone():
    variables = cargo.without_paths({}, {"/home/my name": "/cargo"})
    assert variables == {FLAGS: "--remap-path-prefix=/home/my name=/cargo", FOR_C: ""}


def test_compilers_write_the_innermost_name(tmp_path):
    inner = tmp_path / "target" / "made"
    inner.mkdir(parents=True)
    # In the order in which a wrong one would win.
    variables = cargo.without_paths({}, {str(tmp_path / "target"): "/target", str(tmp_path): "/tufline"})
    rust, c = inner / "rust.rs", inner / "c.c"
    rust.write_text('fn main() { println!("{}", file!()); panic!() }')
    c.write_text("#include <stdio.h>\nint main(void) { puts(__FILE__); }")
    subprocess.run(["rustc", *variables[FLAGS].split("\x1f"), "-C", "strip=symbols", "-o", inner / "rust", rust], check=True)
    subprocess.run(["cc", *variables[FOR_C].split(), "-o", inner / "c", c], check=True)
    for program, name in (("rust", "/target/made/rust.rs"), ("c", "/target/made/c.c")):
        said = subprocess.run([inner / program], capture_output=True, text=True).stdout
        assert said == f"{name}\n"
        assert str(tmp_path).encode() not in (inner / program).read_bytes()


def test_the_places_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path / "elsewhere"))
    (tmp_path / "home").mkdir()
    places = cargo.places({**os.environ, "CARGO_HOME": str(tmp_path / "home")})
    assert places[str(tmp_path / "elsewhere")] == "/target"
    assert places[str(tmp_path / "home")] == "/cargo"
    assert places[str(Path(__file__).resolve().parents[2])] == "/tufline"
    (library,) = (name for name in places.values() if name.startswith("/rustc/"))
    assert len(library) == len("/rustc/") + 40, "the commit of the compiler, as it names its library itself"
