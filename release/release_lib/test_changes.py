"""What a tag must agree with."""

import pytest

from . import changes
from bundle_lib import Refusal

FILES = {
    "Cargo.toml": '[workspace.package]\nversion = "0.2.0"\n',
    "cdk/package.json": '{"version": "0.2.0"}',
    "cdk/lib/version.ts": 'export const VERSION = "0.2.0";\n',
}
CHANGELOG = "# Changelog\n\nAll.\n\n## 0.2.0 - 2026-12-24\n\n### Devices\n\n- New.\n\n## [0.1.0] - 2026-01-01\n\n- Old.\n\n## 0.0.9 - unreleased\n\n- Older.\n\n## 0.0.8 - 2025-01-01\n"


def test_the_version():
    assert changes.version_of(FILES) == "0.2.0"
    for path in ("cdk/package.json", "cdk/lib/version.ts"):
        with pytest.raises(Refusal, match=f"{path} states version 0.1.0, and Cargo.toml 0.2.0"):
            changes.version_of({**FILES, path: FILES[path].replace("0.2.0", "0.1.0")})
    with pytest.raises(Refusal, match="states version None"):
        changes.version_of({**FILES, "cdk/package.json": "{}"})


def test_the_tag():
    changes.check("v0.2.0", "0.2.0")
    for tag in ("0.2.0", "v0.2.1", "v0.2", "v0.2.0-rc.1", "refs/tags/v0.2.0"):
        with pytest.raises(Refusal, match="is not v0.2.0"):
            changes.check(tag, "0.2.0")


def test_the_notes():
    assert changes.notes(CHANGELOG, "0.2.0") == "### Devices\n\n- New.\n"
    assert changes.notes(CHANGELOG, "0.1.0") == "- Old.\n"


@pytest.mark.parametrize(
    ("version", "why"),
    [("0.3.0", "no section 0.3.0"), ("0.2", "no section 0.2:"), ("0.0.9", "no day in the heading of 0.0.9"), ("0.0.8", "says nothing about 0.0.8")],
)
def test_a_missing_section_is_refused(version, why):
    with pytest.raises(Refusal, match=why) as refused:
        changes.notes(CHANGELOG, version)
    assert "\n" not in str(refused.value)
