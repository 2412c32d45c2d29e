"""Files with the same meaning as the signed ones, and files that only seem to have it."""

import json

from ..attack_repository import FIRMWARE, compact
from ..attack_server import Scene
from .row import BIN, TAKEN, World, add, attack, hostile, setting, show, went_on


def reformatted(world: World, **options: object) -> Scene:
    return world.changed("timestamp", json.dumps(json.loads(world.file("timestamp")), **options).encode())


def escaped(world: World) -> Scene:
    return world.changed("timestamp", world.file("timestamp").replace(b"timestamp", b"\\u0074imestamp"))


def reordered(world: World) -> Scene:
    file = json.loads(world.file("timestamp"))
    backwards = {name: file["signed"][name] for name in reversed(file["signed"])}
    return world.changed("timestamp", compact({"signed": backwards, "signatures": file["signatures"]}))


CANONICAL = "canonical form"
add(
    "control",
    "timestamp: expires at 9999-12-31T23:59:59Z, which some call never",
    "target",
    lambda w: show(hostile(w, ("timestamp", setting(expires="9999-12-31T23:59:59Z")))),
    expected=TAKEN,
    recovery=went_on,
)
add("control", "timestamp: with other white space", "target", lambda w: reformatted(w, indent=7), expected=TAKEN)
add("control", "timestamp: with escapes that mean the same", "target", escaped, expected=TAKEN)
add("control", "timestamp: its members in another order", "target", reordered, expected=TAKEN)


def kelvin(text: str) -> str:
    """Another string that Unicode's form C turns into this one."""
    return text.replace("K", "\u212a", 1)


@attack(CANONICAL, "root: a K in the timestamp's key is U+212A, of which some clients make a K before they verify", "root")
def kelvin_key(world: World) -> Scene:
    file = json.loads(world.file("root"))
    (keyid,) = file["signed"]["roles"]["timestamp"]["keyids"]
    public = file["signed"]["keys"][keyid]["keyval"]
    first, label, body = public["public"].partition("PUBLIC KEY-----")
    public["public"] = first + label + kelvin(body)
    return world.changed("root", compact(file))


KELVIN_TARGET = "Kernel.bin"


@attack(CANONICAL, "targets: a K in a target's name is U+212A", "targets", target=KELVIN_TARGET, world="bare", recovery=lambda w: kernel(w))
def kelvin_name(world: World) -> Scene:
    scene = kernel(world)
    file = json.loads(scene.files[world.path("targets")])
    file["signed"]["targets"] = {kelvin(name): listed for name, listed in file["signed"]["targets"].items()}
    scene.files[world.path("targets")] = compact(file)
    return scene


def kernel(world: World) -> Scene:
    """A repository with a target whose name contains a K."""
    other = world.after.fork()
    listed = other.target(FIRMWARE).to_dict()
    other.edits["targets"] = lambda signed: signed["targets"].update({KELVIN_TARGET: listed})
    other.put_roles()
    other.files[other.target_path(FIRMWARE).replace(FIRMWARE, KELVIN_TARGET)] = other.content(FIRMWARE)
    return show(other)


add("control", "targets: a K in a target's name is a K", "target", kernel, expected=TAKEN, target=KELVIN_TARGET, world="bare", recovery=kernel)
add(
    "control",
    "everything with fields that nobody knows",
    "target",
    lambda w: show(hostile(w, *((role, setting(unknown={"a": [1, None]}, z="")) for role in ("timestamp", "snapshot", "targets", BIN)))),
    expected=TAKEN,
    recovery=went_on,
)
