"""The choice of the compiler on each kind of system."""

import pytest

from . import ARCHITECTURES, Refusal
from .way import Host, Way, choose

X86, ARM = ARCHITECTURES["x86_64"].triple, ARCHITECTURES["arm64"].triple
DEBIAN_12 = (2, 36)
UBUNTU_24_04 = (2, 39)

WAYS = [
    # The system's own compiler will do.
    ("x86_64", Host("Linux", "x86_64", DEBIAN_12, frozenset({X86})), Way.HOST),
    ("x86_64", Host("Linux", "x86_64", (2, 34), frozenset({X86})), Way.HOST),
    ("x86_64", Host("Linux", "x86_64", (2, 9), frozenset({X86})), Way.HOST),
    ("arm64", Host("Linux", "arm64", DEBIAN_12, frozenset({ARM})), Way.HOST),
    # A musl toolchain has no target for glibc, and `choose` doesn't ask its system's compiler for
    # one.
    ("x86_64", Host("Linux", "x86_64", None, frozenset({X86})), Way.ZIG),
    # glibc is newer than the tested versions.
    ("x86_64", Host("Linux", "x86_64", (2, 37), frozenset({X86})), Way.ZIG),
    ("x86_64", Host("Linux", "x86_64", UBUNTU_24_04, frozenset({X86})), Way.ZIG),
    ("arm64", Host("Linux", "arm64", UBUNTU_24_04, frozenset({ARM})), Way.ZIG),
    # Another processor.
    ("arm64", Host("Linux", "x86_64", DEBIAN_12, frozenset({X86, ARM})), Way.ZIG),
    ("x86_64", Host("Linux", "arm64", DEBIAN_12, frozenset({X86, ARM})), Way.ZIG),
    ("x86_64", Host("Linux", None, DEBIAN_12, frozenset({X86})), Way.ZIG),
    # macOS on either processor.
    ("arm64", Host("Darwin", "arm64", None, frozenset({ARM})), Way.ZIG),
    ("x86_64", Host("Darwin", "x86_64", None, frozenset({X86})), Way.ZIG),
    # The target isn't installed.
    ("arm64", Host("Linux", "x86_64", DEBIAN_12, frozenset({X86})), f"rustup target add {ARM}"),
    ("x86_64", Host("Linux", "x86_64", UBUNTU_24_04, frozenset({ARM})), f"rustup target add {X86}"),
    ("arm64", Host("Darwin", "arm64", None, frozenset()), f"rustup target add {ARM}"),
    # Unknown architectures and unsupported systems.
    ("riscv64", Host("Linux", "x86_64", DEBIAN_12, frozenset({X86})), "expected arm64 or x86_64"),
    ("x86_64", Host("Windows", "x86_64", None, frozenset({X86})), "use WSL"),
    ("x86_64", Host("", None, None, frozenset()), "not on an unknown system"),
]


@pytest.mark.parametrize(("architecture", "host", "way"), WAYS)
def test_the_way(architecture, host, way):
    if isinstance(way, Way):
        assert choose(architecture, host) is way
    else:
        with pytest.raises(Refusal, match=way):
            choose(architecture, host)


@pytest.mark.parametrize(("architecture", "host", "way"), WAYS)
def test_zig_where_it_is_asked_for(architecture, host, way):
    if isinstance(way, Way):
        assert choose(architecture, host, zig=True) is Way.ZIG
    else:
        with pytest.raises(Refusal, match=way):
            choose(architecture, host, zig=True)


def test_zig_needs_the_target_that_the_systems_compiler_does_not():
    bare = Host("Linux", "x86_64", DEBIAN_12, frozenset())
    assert choose("x86_64", bare) is Way.HOST
    with pytest.raises(Refusal, match="rustup target add"):
        choose("x86_64", bare, zig=True)
