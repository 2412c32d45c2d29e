"""What a build is told by its environment."""

from . import environment


def test_what_changes_programs_is_left_out():
    stays = {"PATH": "/usr/bin", "CARGO_HOME": "/c", "CARGO_TARGET_DIR": "/t", "CARGO_HTTP_PROXY": "p", "HTTPS_PROXY": "p", "PIP_INDEX_URL": "u"}
    goes = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "CARGO_BUILD_TARGET"]
    goes += ["CFLAGS", "CFLAGS_x86_64_unknown_linux_gnu", "TARGET_CFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "AWS_LC_SYS_CFLAGS", "SOURCE_DATE_EPOCH"]
    assert environment.plain({**stays, **dict.fromkeys(goes, "x")}, 7) == {**stays, "SOURCE_DATE_EPOCH": "7"}
