"""The rows of the matrix, and the helpers that make them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from ..attack_clients import Outcome
from ..attack_repository import FIRMWARE, Edit, Repository, bin_of
from ..attack_server import Answer, Scene
from ..foreign import SPEC, in_days

REFUSED, TAKEN, NO_TARGET = "refuses", "takes it", "says: no such target"
PAST = "2020-01-01T00:00:00Z"
BIN = bin_of(FIRMWARE)
# The files of an update, in its order.
STAGES = ("root", "timestamp", "snapshot", "targets", BIN, "target")


@dataclass(frozen=True)
class World:
    """A repository as all clients know it, and its later publications."""

    before: Repository
    after: Repository

    def path(self, stage: str) -> str:
        return self.after.target_path(FIRMWARE) if stage == "target" else self.after.path(stage)

    def file(self, stage: str) -> bytes:
        return self.after.files[self.path(stage)]

    def honest(self) -> Scene:
        return show(self.after)

    def changed(self, stage: str, body: bytes) -> Scene:
        """The new repository with other bytes for one file."""
        scene = self.honest()
        scene.files[self.path(stage)] = body
        return scene

    def answered(self, stage: str, answer: Answer) -> Scene:
        scene = self.honest()
        scene.answers[self.path(stage)] = answer
        return scene


Play = Callable[[World], Scene]
Check = Callable[[World, Scene, Path, Outcome], None]


@dataclass(frozen=True)
class Attack:
    """A row of the matrix."""

    kind: str
    name: str
    play: Play
    # The attacked file, which a client refuses.
    stage: str
    # What our device does.
    expected: str = REFUSED
    # The `listing` of the repository.
    world: str = "full"
    # The target that the client fetches.
    target: str = FIRMWARE
    # Whether the client knows the new repository already.
    knows_new: bool = False
    # A part of the device's one-line message; by default, of the file's name.
    says: str = ""
    # What the device stores in addition to the files before the attacked one, by paths of the
    # scene.
    stored: tuple[tuple[str, str], ...] = ()
    # What ends the attack: by default the honest repository.
    recovery: Play = World.honest
    check: Check | None = None
    slow: bool = False


ATTACKS: list[Attack] = []
# A signer whom nobody trusts.
STRANGER = CryptoSigner.generate_ed25519()


def add(kind: str, name: str, stage: str, play: Play, **options: object) -> None:
    ATTACKS.append(Attack(kind, name, play, stage, **options))


def attack(kind: str, name: str, stage: str, **options: object) -> Callable[[Play], Play]:
    def decorate(play: Play) -> Play:
        add(kind, name, stage, play, **options)
        return play

    return decorate


def show(repository: Repository, name: str = FIRMWARE) -> Scene:
    return Scene(dict(repository.files), expected=repository.content(name))


def hostile(world: World, *edits: tuple[str, Edit], keys: dict[str, list[CryptoSigner]] | None = None) -> Repository:
    """The new repository with a hostile signer's edits. Documents that list an edited one are made
    again."""
    other = world.after.fork()
    other.keys |= keys or {}
    other.edits = dict(edits)
    other.put_roles()
    return other


def rotated(*roles: str) -> Play:
    """The repository after the keys of these roles were replaced and everything was signed
    again."""

    def play(world: World) -> Scene:
        other = world.after.fork()
        for role in roles:
            other.replace_key(role)
        other.publish()
        return show(other)

    return play


def went_on(world: World) -> Scene:
    """The repository after one more publication."""
    other = world.after.fork()
    other.publish()
    return show(other)


def setting(**members: object) -> Edit:
    return lambda signed: signed.update(members)


def delegating(name: str, paths: list[str], members: dict | None = None) -> Edit:
    """Delegates these paths to a stranger's role of this name, before all other delegations."""

    def edit(signed: dict) -> None:
        delegations = signed.setdefault("delegations", {"keys": {}, "roles": []})
        keyid = STRANGER.public_key.keyid
        delegations["keys"][keyid] = STRANGER.public_key.to_dict()
        made = {"name": name, "keyids": [keyid], "threshold": 1, "terminating": False, "paths": paths}
        delegations["roles"].insert(0, made | (members or {}))

    return edit


def empty_role() -> bytes:
    """The file of an empty role of version 7, signed by the stranger."""
    expires = in_days(9).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Repository.seal({"_type": "targets", "spec_version": SPEC, "version": 7, "expires": expires, "targets": {}}, [STRANGER])
