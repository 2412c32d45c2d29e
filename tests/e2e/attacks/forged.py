"""An attacker without any key: arbitrary and wrong software, extraneous dependencies. In `bare`
repositories only the signatures can reveal them."""

import itertools
import json
from collections.abc import Callable

from securesystemslib.signer import CryptoSigner

from ..attack_repository import FIRMWARE, OTHER, Repository, compact
from ..attack_server import Scene
from ..foreign import in_days
from .row import BIN, STAGES, STRANGER, World, add


def tampered(world: World, stage: str) -> bytes:
    file = json.loads(world.file(stage))
    file["signed"]["expires"] = in_days(300).strftime("%Y-%m-%dT%H:%M:%SZ")
    return compact(file)


def signed_by(world: World, stage: str, signers: list[CryptoSigner], ids: list[str] | None = None) -> bytes:
    """The same document, signed by others under these ids."""
    file = json.loads(Repository.seal(json.loads(world.file(stage))["signed"], signers))
    for signature, keyid in zip(file["signatures"], ids or [], strict=False):
        signature["keyid"] = keyid
    return compact(file)


def ids(world: World, stage: str) -> list[str]:
    return [key.public_key.keyid for key in world.after.signers(stage)]


def without_signatures(world: World, stage: str) -> bytes:
    return compact({**json.loads(world.file(stage)), "signatures": []})


def of_another_role(world: World, stage: str) -> bytes:
    wrong = "targets" if stage == "timestamp" else "timestamp"
    return signed_by(world, stage, world.after.signers(wrong))


def of_another_type(world: World, stage: str) -> bytes:
    """The signed document of another role in place of this role's."""
    return world.file("snapshot" if stage in ("root", "timestamp") else "timestamp")


FOREIGN = Repository("bare")


def of_another_repository(world: World, stage: str) -> bytes:
    other = FOREIGN.fork()
    other.next_root()
    other.publish()
    return other.files[world.path(stage)]


FORGERIES: dict[str, Callable[[World, str], bytes]] = {
    "changed after it was signed": tampered,
    "signed by a stranger under the right key's id": lambda w, s: signed_by(w, s, [STRANGER] * 3, ids(w, s)),
    "signed by a stranger": lambda w, s: signed_by(w, s, [STRANGER]),
    "without signatures": without_signatures,
    "signed with the key of another role": of_another_role,
    "another role's file (`_type`)": of_another_type,
    "the file of another repository": of_another_repository,
}
for (title, forge), step in itertools.product(FORGERIES.items(), STAGES[:-1]):
    if title != "signed by a stranger" or step in ("root", "timestamp"):
        add("arbitrary software", f"{step}: {title}", step, lambda w, f=forge, s=step: w.changed(s, f(w, s)), world="bare")

for title, make in {
    "other bytes of the same length": lambda w: w.file("target")[::-1],
    "one bit changed": lambda w: bytes([w.file("target")[0] ^ 1]) + w.file("target")[1:],
    "shorter by a byte": lambda w: w.file("target")[:-1],
    "longer by a byte": lambda w: w.file("target") + b".",
    "nothing": lambda _: b"",
}.items():
    add("arbitrary software", f"target: {title}", "target", lambda w, m=make: w.changed("target", m(w)))
add("wrong software", "target: the bytes of another one", "target", lambda w: w.changed("target", w.after.content(OTHER)))
add("wrong software", "target: the bytes that it had before", "target", lambda w: w.changed("target", w.before.content(FIRMWARE)))


def with_dependency(world: World) -> Scene:
    file = json.loads(world.file(BIN))
    file["signed"]["targets"][FIRMWARE]["custom"] = {"needs": [OTHER]}
    return world.changed(BIN, compact(file))


add("extraneous dependencies", "a target asks for another one", BIN, with_dependency, world="bare")
