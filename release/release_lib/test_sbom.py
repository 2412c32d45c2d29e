"""Bills of materials: what is left of the machine that made them, and what is in them."""

import json

import pytest

from . import sbom
from bundle_lib import Refusal


def part(name: str, reference: str) -> dict:
    return {"bom-ref": reference, "name": name, "version": "1.0.0", "type": "library"}


LISTED = {
    "bomFormat": "CycloneDX",
    "metadata": {"component": part("tufline", "path+file:///home/me/copy/cli#tufline@1.0.0")},
    "components": [part("hex", "registry+hex@1.0.0"), part("ring", "registry+ring@1.0.0"), part("tuf", "path+file:///home/me/copy/tuf#1.0.0")],
    "dependencies": [
        {"ref": "path+file:///home/me/copy/cli#tufline@1.0.0", "dependsOn": ["registry+hex@1.0.0", "registry+ring@1.0.0"]},
        {"ref": "registry+ring@1.0.0", "dependsOn": ["registry+hex@1.0.0"]},
        {"ref": "registry+hex@1.0.0"},
    ],
}
TREE = "tufline v1.0.0 (/home/me/copy/cli)\nhex v1.0.0\nhex v1.0.0 (*)\ntuf v1.0.0 (/home/me/copy/tuf)\n\nquote v1.0.0 (proc-macro)\n"


def test_the_crates_of_a_tree():
    assert sbom.crates(TREE) == {"tufline@1.0.0", "hex@1.0.0", "tuf@1.0.0", "quote@1.0.0"}


def test_what_cargo_does_not_build_is_left_out():
    text = sbom.of_cargo(json.dumps(LISTED), "/home/me/copy", {"tufline@1.0.0", "hex@1.0.0", "tuf@1.0.0"})
    assert "/home/me" not in text and "ring" not in text
    listed = json.loads(text)
    assert [each["name"] for each in listed["components"]] == ["hex", "tuf"]
    assert listed["dependencies"][0] == {"ref": "path+file:///cli#tufline@1.0.0", "dependsOn": ["registry+hex@1.0.0"]}


def test_a_list_that_lacks_something_is_refused():
    with pytest.raises(Refusal, match="lists no quote@1.0.0, zlib@1.0.0, which cargo builds"):
        sbom.of_cargo(json.dumps(LISTED), "/home/me/copy", {"hex@1.0.0", "zlib@1.0.0", "quote@1.0.0"})


def test_npms_list_says_nothing_of_its_run():
    def made(number: str, folder: str, hour: str, version: str) -> str:
        metadata = {"timestamp": hour, "component": {"name": folder}, "tools": [{"name": "cli", "version": version}]}
        return sbom.of_npm(json.dumps({"serialNumber": number, "metadata": metadata}), "tufline-cdk", "2026-12-01T00:00:00Z")

    first = made("urn:uuid:1", "cdk", "2026-01-01T00:00:00Z", "10.8.2")
    assert first == made("urn:uuid:2", "copy", "2026-01-02T00:00:00Z", "11.0.0")
    kept = {"timestamp": "2026-12-01T00:00:00Z", "component": {"name": "tufline-cdk"}, "tools": [{"name": "cli"}]}
    assert json.loads(first) == {"metadata": kept}
