"""What a tag must agree with before a release is made of it."""

import json
import re
import tomllib

from . import ROOT
from bundle_lib import Refusal


def version() -> str:
    """The version of this checkout. Refuses one whose files disagree about it."""
    return version_of({path: (ROOT / path).read_text() for path in ("Cargo.toml", "cdk/package.json", "cdk/lib/version.ts")})


def version_of(files: dict[str, str]) -> str:
    """The version in `Cargo.toml`. Refuses other files that state another one: `files` has the
    texts of `Cargo.toml`, `cdk/package.json` and `cdk/lib/version.ts` by these paths."""
    version = tomllib.loads(files["Cargo.toml"])["workspace"]["package"]["version"]
    constant = re.search(r'VERSION = "([^"]*)"', files["cdk/lib/version.ts"])
    stated = {
        "cdk/package.json": json.loads(files["cdk/package.json"]).get("version"),
        "cdk/lib/version.ts": constant and constant[1],
    }
    for path, other in stated.items():
        if other != version:
            raise Refusal(f"{path} states version {other}, and Cargo.toml {version}: make them equal")
    return version


def check(tag: str, version: str) -> None:
    """Refuses a tag that doesn't name the version."""
    if tag != f"v{version}":
        raise Refusal(f"the tag {tag} is not v{version}, the version in Cargo.toml: tag another commit, or change the version first")


def notes(changelog: str, version: str) -> str:
    """What CHANGELOG.md says of a version, without its heading. Refuses a version that has no
    heading `## VERSION - YEAR-MONTH-DAY`, or nothing below it."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        heading, _, text = section.partition("\n")
        named = re.fullmatch(r"\[?([^\s\]]+)\]?(.*)", heading)
        if not named or named[1] != version:
            continue
        if not re.search(r"\b\d{4}-\d\d-\d\d\b", named[2]):
            raise Refusal(f"CHANGELOG.md has no day in the heading of {version}: write `## {version} - YEAR-MONTH-DAY`")
        if not text.strip():
            raise Refusal(f"CHANGELOG.md says nothing about {version}: write what changes for those who use it")
        return text.strip() + "\n"
    raise Refusal(f"CHANGELOG.md has no section {version}: write `## {version} - YEAR-MONTH-DAY` and what changes below it")
