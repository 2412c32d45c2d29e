"""Names that lead elsewhere."""

import hashlib
from pathlib import Path

from ..attack_clients import Outcome
from ..attack_repository import FIRMWARE
from ..attack_server import Scene
from .row import TAKEN, Play, World, add, delegating, empty_role, show

NAMES = {
    "a way out": "../../../escaped",
    "an absolute path": "/tmp/escaped",
    "a percent-encoded way out": "..%2F..%2Fescaped",
    "a way out with backslashes": "..\\..\\escaped",
    "two dots": "..",
    "a query": "x?y#z",
    "line breaks and escapes": "a\r\nX-Evil: 1\x1b[31m\x00",
    "300 letters": "n" * 300,
    "the name of the root in capitals": "ROOT",
    "what a device stores": "root.json",
}


def named_role(name: str, delegated: bool = True) -> Play:
    """A role of this name is listed, and delegated to if `delegated`; it lists nothing."""

    def play(world: World) -> Scene:
        other = world.after.fork()
        other.files[f"metadata/7.{name}.json"] = empty_role()
        other.edits["snapshot"] = lambda signed: signed["meta"].setdefault(f"{name}.json", {"version": 7})
        if delegated:
            other.edits["targets"] = delegating(name, ["*"])
            other.put_roles()
        else:
            other.publish()
        return show(other)

    return play


def stays_in(world: World, scene: Scene, folder: Path, outcome: Outcome) -> None:
    """Checks that the device writes only into its own folders, and that no two names share a file,
    even if the file system ignores case."""
    places = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert places <= {"metadata", "out", "device.toml", "token", "stdout", "stderr"}, places
    assert not list(folder.parent.parent.rglob("*escaped")) and not Path("/tmp/escaped.json").exists()
    names = [path.name.lower() for path in (folder / "metadata").iterdir()]
    assert len(names) == len(set(names)), names
    assert (folder / "metadata" / "root.json").read_bytes() == scene.files["metadata/2.root.json"]


for title, wrong in NAMES.items():
    add("names", f"a role whose name is {title}", "target", named_role(wrong), expected=TAKEN, check=stays_in, recovery=named_role(wrong, False))
for wrong in ("root", "timestamp", "snapshot", "targets", ""):
    add("names", f"a delegated role called “{wrong}”", "targets", named_role(wrong), recovery=named_role(wrong, False))


def named_target(name: str) -> Play:
    def play(world: World) -> Scene:
        other = world.after.fork()
        data = b"evil".ljust(3000, b".")
        listed = other.target(FIRMWARE).to_dict()
        digest = hashlib.sha256(data).hexdigest()
        listed["hashes"] = {"sha256": digest}
        other.edits["targets"] = lambda signed: signed["targets"].update({name: listed})
        other.put_roles()
        folder, slash, last = name.rpartition("/")
        other.files[f"targets/{folder}{slash}{digest}.{last}"] = data
        scene = show(other)
        scene.expected = data
        return scene

    return play


for title, wrong in {"a way out": "../../../escaped", "line breaks": "a\r\nX-Evil: 1", "a query": "x?y#z"}.items():
    add(
        "names",
        f"a target whose name is {title}",
        "target",
        named_target(wrong),
        expected=TAKEN,
        target=wrong,
        check=stays_in,
        recovery=named_target(wrong),
    )
