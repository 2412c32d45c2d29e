"""Files with valid signatures that are no metadata, or that list what doesn't exist."""

from ..attack_repository import FIRMWARE
from ..attack_server import Scene
from .row import BIN, Play, World, add, attack, delegating, hostile, rotated, setting, show, went_on

VERSIONS = {"0": 0, "-1": -1, '"2"': "2", "true": True, "null": None, "2^64": 1 << 64}
for title, wrong in VERSIONS.items():
    add(
        "malformed",
        f"timestamp's key: version {title}",
        "timestamp",
        lambda w, v=wrong: show(hostile(w, ("timestamp", setting(version=v)))),
        recovery=went_on,
    )
for title, member in {
    "no expiry": {"expires": None},
    "an expiry without a time": {"expires": "2099-01-01"},
    "spec_version 2.0.0": {"spec_version": "2.0.0"},
    "no `meta`": {"meta": None},
    "another `_type`": {"_type": "snapshot"},
    "a snapshot of length -1": {"meta": {"snapshot.json": {"version": 2, "length": -1}}},
    "a snapshot of version 0": {"meta": {"snapshot.json": {"version": 0}}},
}.items():
    add("malformed", f"timestamp's key: {title}", "timestamp", lambda w, m=member: show(hostile(w, ("timestamp", setting(**m)))), recovery=went_on)


def listing(stage: str, listed_by: str, member: dict) -> Play:
    """The signer of `listed_by` lists something else for `stage`."""

    def edit(signed: dict) -> None:
        signed["meta"][f"{stage}.json"].update(member)

    return lambda world: show(hostile(world, (listed_by, edit)))


for step, by in (("snapshot", "timestamp"), ("targets", "snapshot"), (BIN, "snapshot")):
    for title, member in {
        "a wrong digest": {"hashes": {"sha256": "00" * 32}},
        "a right and a wrong digest": {"hashes": {"sha512": "00" * 64}},
        "a digest of one byte": {"hashes": {"sha256": "00"}},
        "a wrong length": {"length": 10},
        "no hash function that is known": {"hashes": {"md17": "00"}},
    }.items():
        add("wrong listing", f"{step}: {title}", step, listing(step, by, member), recovery=went_on)
    add(
        "wrong listing",
        f"{step}: a version that is not there",
        step,
        listing(step, by, {"version": 700_000}),
        recovery=rotated("timestamp", "snapshot"),
    )


def listed_target(**members: object) -> Play:
    def edit(signed: dict) -> None:
        signed["targets"][FIRMWARE].update(members)

    return lambda world: show(hostile(world, (BIN, edit)))


add("wrong listing", "target: no digest", "target", listed_target(hashes={}), recovery=went_on, says=FIRMWARE)
add("wrong listing", "target: no hash function that is known", "target", listed_target(hashes={"md17": "00"}), recovery=went_on, says=FIRMWARE)
add("wrong listing", "target: a length of -1", BIN, listed_target(length=-1), recovery=went_on)
for step in ("snapshot", "targets", BIN, "target"):

    def gone(world: World, s: str = step) -> Scene:
        scene = world.honest()
        del scene.files[world.path(s)]
        return scene

    add("missing", f"{step}: is not there", step, gone, says=FIRMWARE if step == "target" else "")


@attack("missing", "a role that is delegated to is not listed in the snapshot", BIN, recovery=went_on, says="snapshot.json")
def not_listed(world: World) -> Scene:
    return show(hostile(world, ("targets", delegating("new", ["*"]))))
