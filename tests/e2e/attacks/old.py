"""Files that were once valid, or are valid elsewhere: rollback, freeze, mix and match."""

import itertools
import time
from datetime import datetime

from tuf.api.metadata import Root

from ..attack_repository import OTHER, Repository, bin_of
from ..attack_server import Scene
from ..foreign import in_days
from .roots import new_root, third_root
from .row import BIN, PAST, STAGES, TAKEN, Play, World, add, attack, hostile, setting, show, went_on


def old_file(stage: str) -> Play:
    return lambda world: world.changed(stage, world.before.files[world.before.path(stage)])


for listing, step in itertools.product(("full", "bare"), ("timestamp", "snapshot", "targets", BIN)):
    if step != "timestamp" or listing == "full":
        knows = step == "timestamp"
        add("rollback", f"{step}: the old one in the place of the new ({listing})", step, old_file(step), world=listing, knows_new=knows)
add("rollback", "root: the old one in the place of the new", "root", old_file("root"))
add("rollback", "everything as it was before", "timestamp", lambda w: show(w.before), knows_new=True, stored=(("root.json", "old"),))
add("rollback", "everything but the root as it was before", "timestamp", lambda w: show(Repository.fork(w.before)), knows_new=True)


def lists_old(stage: str, listed_by: str) -> Play:
    """The signer of `listed_by` says, in a third publication, that the first publication's file of
    `stage` is the current one."""

    def play(world: World) -> Scene:
        other = world.after.fork()
        other.edits[listed_by] = lambda signed: signed["meta"].update({f"{stage}.json": {"version": 1}})
        other.publish()
        return show(other)

    return play


def later(world: World) -> Scene:
    """The repository after two more publications."""
    other = world.after.fork()
    other.publish()
    other.publish()
    return show(other)


LISTED_OLD = {
    "timestamp's key: lists the old snapshot": ("snapshot", "timestamp"),
    "snapshot's key: lists the old targets": ("targets", "snapshot"),
    "snapshot's key: lists the old bin": (BIN, "snapshot"),
    "snapshot's key: lists a delegated role's old file, for which nobody asks": ("party", "snapshot"),
}
for title, (role, by) in LISTED_OLD.items():
    add("rollback", title, by, lists_old(role, by), world="bare", knows_new=True, recovery=later)


@attack("rollback", "snapshot's key: no longer lists a role", "snapshot", world="bare", recovery=went_on)
def drops_role(world: World) -> Scene:
    return show(hostile(world, ("snapshot", lambda signed: signed["meta"].pop("party.json"))))


@attack("rollback", "snapshot's key: no longer lists targets", "snapshot", world="bare", recovery=went_on)
def drops_targets(world: World) -> Scene:
    return show(hostile(world, ("snapshot", lambda signed: signed["meta"].pop("targets.json"))))


# Freeze, and mix and match.


@attack("freeze", "everything as it was before, which has not expired", "target", expected=TAKEN)
def kept_back(world: World) -> Scene:
    return show(world.before)


def wait_until(when: datetime) -> None:
    time.sleep(max(0.0, when.timestamp() - time.time()) + 0.01)


@attack("freeze", "everything as it was before, which has expired since", "timestamp", world="short", slow=True, stored=(("root.json", "old"),))
def kept_back_too_long(world: World) -> Scene:
    wait_until(world.before.lasts)
    return show(world.before)


for step in STAGES[1:-1]:
    edited = lambda w, s=step: show(hostile(w, (s, setting(expires=PAST))))  # noqa: E731
    add("freeze", f"{step}: has expired", step, edited, recovery=went_on)


def expired(root: Root, _: Repository) -> None:
    root.expires = datetime.fromisoformat(PAST)


def expires_between(world: World) -> Scene:
    other = world.before.fork()
    other.next_root(lambda root: expired(root, other))
    other.next_root(lambda root: setattr(root, "expires", in_days(9)))
    other.publish()
    return show(other)


add(
    "freeze",
    "root: the newest has expired",
    "root",
    new_root(expired),
    stored=(("root.json", "metadata/2.root.json"),),
    recovery=third_root,
    says="root.json",
)
add("control", "root: one on the way to the newest has expired", "target", expires_between, expected=TAKEN)


def swap(world: World, taken: str) -> Scene:
    other = bin_of(OTHER)
    return world.changed(BIN, world.after.files[world.after.path(other)])


add("mix and match", "a bin's file in the place of another's (full)", BIN, lambda w: swap(w, BIN))
add("mix and match", "a bin's file in the place of another's (lean)", BIN, lambda w: swap(w, BIN), world="lean")
add(
    "mix and match",
    "a bin's file in the place of another's, of the same key and version, and without a digest (bare)",
    BIN,
    lambda w: swap(w, BIN),
    world="bare",
)
