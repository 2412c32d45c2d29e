"""Stolen keys: what a thief of one key can and can't do; fast-forward."""

from ..attack_repository import DEEP, FIRMWARE, OTHER, bin_of
from ..attack_server import Scene
from .old import later
from .row import BIN, TAKEN, Play, World, add, attack, delegating, empty_role, hostile, rotated, setting, show, went_on
from .signed import listing

STOLEN = "stolen key"


def forward(roles: dict[str, int]) -> Play:
    edits = [(role, setting(version=version)) for role, version in roles.items()]
    return lambda world: show(hostile(world, *edits))


add(
    "fast-forward",
    "timestamp's key: version 2^53; goes on when the key is replaced",
    "target",
    forward({"timestamp": 1 << 53}),
    expected=TAKEN,
    recovery=rotated("timestamp"),
)
add(
    "fast-forward",
    "timestamp's and snapshot's keys: version 2^53 of both; goes on when the keys are replaced",
    "target",
    forward({"timestamp": 1 << 53, "snapshot": 1 << 53}),
    expected=TAKEN,
    recovery=rotated("timestamp", "snapshot"),
)
add(
    "fast-forward",
    "snapshot's key: version 10^9 of targets; goes on when the key is replaced",
    "targets",
    listing("targets", "snapshot", {"version": 10**9}),
    world="bare",
    recovery=rotated("snapshot"),
    says="1000000000.targets.json",
)
add(
    "fast-forward",
    "snapshot's key: version 10^9 of a role for which nobody asks; goes on when the key is replaced",
    "target",
    listing("party", "snapshot", {"version": 10**9}),
    world="bare",
    expected=TAKEN,
    recovery=rotated("snapshot"),
)
add(
    STOLEN,
    "timestamp's key: expires in the year 9990; goes on when the key is replaced",
    "target",
    lambda w: show(hostile(w, ("timestamp", setting(expires="9990-12-31T23:59:59Z")))),
    expected=TAKEN,
    recovery=rotated("timestamp"),
)
add(
    STOLEN,
    "timestamp's key: expires in the year 9990 once, and the next one as always",
    "target",
    lambda w: show(hostile(w, ("timestamp", setting(expires="9990-12-31T23:59:59Z")))),
    expected=TAKEN,
    recovery=went_on,
)


@attack(STOLEN, "timestamp's key: signs a snapshot and targets too", "snapshot", world="bare", recovery=rotated("timestamp"))
def timestamp_signs_all(world: World) -> Scene:
    key = world.after.keys["timestamp"]
    return show(hostile(world, keys={"snapshot": key, "targets": key}))


@attack(STOLEN, "snapshot's key: signs targets too", "targets", world="bare", recovery=rotated("snapshot"))
def snapshot_signs_targets(world: World) -> Scene:
    return show(hostile(world, keys={"targets": world.after.keys["snapshot"]}))


def evil(world: World, name: str = FIRMWARE) -> tuple[dict, bytes, str]:
    """The entry of other bytes under a name, these bytes, and their path."""
    other = world.after.fork()
    other.version = 66
    data = other.content(name)
    return other.target(name).to_dict(), data, other.target_path(name)


@attack(STOLEN, "targets' key alone: lists other bytes", "targets")
def targets_alone(world: World) -> Scene:
    listed, data, path = evil(world)
    other = world.after.fork()
    other.edits["targets"] = lambda signed: signed["targets"].update({FIRMWARE: listed})
    other.put("targets", other.targets("targets"))
    other.files[path] = data
    return show(other)


@attack(STOLEN, "bins' key alone: lists other bytes", BIN)
def bins_alone(world: World) -> Scene:
    listed, data, path = evil(world)
    other = world.after.fork()
    other.edits[BIN] = lambda signed: signed["targets"].update({FIRMWARE: listed})
    other.put(BIN, other.targets(BIN))
    other.files[path] = data
    return show(other)


@attack(STOLEN, "a party's key: lists a target outside its paths, which is found where it should be", "target", expected=TAKEN, recovery=went_on)
def party_outside(world: World) -> Scene:
    listed, data, path = evil(world)
    other = hostile(world, ("party", lambda signed: signed["targets"].update({FIRMWARE: listed})))
    other.files[path] = data
    return show(other)


@attack(STOLEN, "bins' key: lists a target in another bin, which is found where it should be", "target", expected=TAKEN, recovery=went_on)
def bin_outside(world: World) -> Scene:
    listed, data, path = evil(world)
    other = hostile(world, (bin_of(OTHER), lambda signed: signed["targets"].update({FIRMWARE: listed})))
    other.files[path] = data
    return show(other)


@attack(
    STOLEN,
    "a party's key: delegates everything to a role of its own, which is not asked for what others have",
    "target",
    expected=TAKEN,
    recovery=went_on,
)
def party_delegates_all(world: World) -> Scene:
    return show(hostile(world, ("party", delegating("party.evil", ["*", "*/*"]))))


@attack(
    STOLEN,
    "a party's key: delegates to itself, and to who delegates to it",
    "target",
    expected=TAKEN,
    target=DEEP,
    recovery=lambda w: show(w.after, DEEP),
)
def circle(world: World) -> Scene:
    other = world.after.fork()
    other.edits["party"] = delegating("party", ["*/*"], {"keyids": []})
    other.put_roles()
    scene = show(other, DEEP)
    return scene


@attack(
    STOLEN,
    "timestamp's and snapshot's keys: another timestamp of the version that is known",
    "target",
    expected=TAKEN,
    knows_new=True,
    recovery=later,
)
def same_version(world: World) -> Scene:
    """Each version has one document: the one that came first stays (5.4.3.1)."""
    other = world.after.fork()
    other.edits["timestamp"] = setting(version=2)
    other.publish()
    scene = show(other)
    scene.expected = world.after.content(FIRMWARE)
    return scene


MANY = 40
# The stranger's roles that a device reads. With `targets` and the party, these are one more than a
# search may ask: only then does the device know that there are too many.
ASKED = 31


@attack(
    STOLEN,
    "a party's key: delegates to more roles than are asked for one target",
    "party",
    target=DEEP,
    says=DEEP,
    stored=(
        ("root.json", "metadata/2.root.json"),
        ("timestamp.json", "metadata/timestamp.json"),
        ("snapshot.json", "metadata/2.snapshot.json"),
        ("targets.json", "metadata/200.targets.json"),
        ("party.json", "metadata/201.party.json"),
        *((f"x{number}.json", f"metadata/7.x{number}.json") for number in range(ASKED)),
    ),
    recovery=lambda world: many_roles(world, delegated=False),
)
def many_roles(world: World, delegated: bool = True) -> Scene:
    other = world.after.fork()
    names = [f"x{number}" for number in range(MANY)]
    file = empty_role()
    other.files |= {f"metadata/7.{name}.json": file for name in names}
    other.edits["snapshot"] = lambda signed: signed["meta"].update({f"{name}.json": {"version": 7} for name in names})
    if delegated:
        other.edits["party"] = lambda signed: [delegating(name, ["party/*"])(signed) for name in reversed(names)]
        other.put_roles()
    else:
        other.publish()
    return show(other, DEEP)
