"""Software bills of materials in CycloneDX's format: <https://cyclonedx.org/docs/1.5/json/>.

cargo-cyclonedx and npm list what is in a program or a package. This makes their lists independent
of the machine that made them.
"""

import json

from bundle_lib import Refusal


def crates(tree: str) -> set[str]:
    """The crates in what `cargo tree --prefix none --format {p}` prints, as `name@version`."""
    words = [line.split() for line in tree.splitlines() if line]
    return {f"{name}@{version.removeprefix('v')}" for name, version, *_ in words}


def of_cargo(text: str, root: str, built: set[str]) -> str:
    """The list that cargo-cyclonedx made in the checkout `root`, without that folder's name and
    with the crates `built` alone.

    cargo-cyclonedx takes a workspace as one build. It also lists what only the features bring along
    that other programs of the workspace ask for.
    """
    listed = json.loads(text.replace(f"file://{root}", "file://"))
    named = {part["bom-ref"]: f"{part['name']}@{part['version']}" for part in listed["components"]}
    itself = listed["metadata"]["component"]
    missing = built - set(named.values()) - {f"{itself['name']}@{itself['version']}"}
    if missing:
        raise Refusal(f"cargo-cyclonedx lists no {', '.join(sorted(missing))}, which cargo builds: try a newer version of it")
    dropped = {reference for reference, name in named.items() if name not in built}
    listed["components"] = [part for part in listed["components"] if part["bom-ref"] not in dropped]
    kept = [entry for entry in listed["dependencies"] if entry["ref"] not in dropped]
    for entry in kept:
        if "dependsOn" in entry:
            entry["dependsOn"] = [reference for reference in entry["dependsOn"] if reference not in dropped]
    listed["dependencies"] = kept
    return _written(listed)


def of_npm(text: str, name: str, time: str) -> str:
    """The list that `npm sbom` made, without the number and the version of npm, which are those of
    one run. npm takes the folder's name and the hour: the list gets the package's `name`, and
    `time` as ISO 8601 has it."""
    listed = json.loads(text)
    listed["metadata"]["component"]["name"] = name
    listed.pop("serialNumber", None)
    listed["metadata"]["timestamp"] = time
    for tool in listed["metadata"].get("tools", []):
        tool.pop("version", None)
    return _written(listed)


def _written(listed: dict) -> str:
    return json.dumps(listed, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
