"""The environment of a build."""

# Variables, by how their names begin, with which somebody changes what compilers make: of cargo
# (https://doc.rust-lang.org/cargo/reference/environment-variables.html), rustup, the crate cc and
# aws-lc-sys. A proxy, a mirror and their certificates stay.
CHANGING = (
    "AWS_LC_",
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CFLAGS",
    "CXXFLAGS",
    "HOST_C",
    "RUSTC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "TARGET_C",
)


def plain(environment: dict[str, str], time: int) -> dict[str, str]:
    """The environment without what changes programs, and with the time that they take for that of
    their build: <https://reproducible-builds.org/specs/source-date-epoch/>."""
    kept = {name: value for name, value in environment.items() if name == "CARGO_TARGET_DIR" or not name.startswith(CHANGING)}
    return {**kept, "SOURCE_DATE_EPOCH": str(time)}
