"""The chain of roots."""

import json
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from ..attack_repository import Repository, compact
from ..attack_server import Scene
from .row import TAKEN, Play, World, add, attack, setting, show


def new_root(edit: Callable[[Root, Repository], None], signers: Callable[[World, Repository], list[CryptoSigner]] | None = None) -> Play:
    """A second root other than the honest one."""

    def play(world: World) -> Scene:
        other = world.before.fork()
        before = list(other.keys["root"])
        other.next_root(lambda root: edit(root, other), [])
        everybody = {key.public_key.keyid: key for key in [*before, *other.keys["root"]]}
        other.put_root(signers(world, other) if signers else list(everybody.values()))
        other.publish()
        return show(other)

    return play


def third_root(world: World) -> Scene:
    """Ends an attack whose second root has all required signatures: the honest holders publish a
    third root."""
    other = world.before.fork()
    other.root.version = 2
    other.next_root()
    other.publish()
    other.publish()
    return show(other)


def replace_root_keys(root: Root, other: Repository) -> None:
    for old in other.keys["root"]:
        root.revoke_key(old.public_key.keyid, "root")
    other.keys["root"] = [CryptoSigner.generate_ed25519() for _ in range(3)]
    for new in other.keys["root"]:
        root.add_key(new.public_key, "root")


def same_root(_: Root, __: Repository) -> None:
    pass


def old_keys(world: World, _: Repository) -> list[CryptoSigner]:
    return world.before.keys["root"]


CHAIN = "chain of roots"
both = new_root(replace_root_keys)
add("control", "root: all keys replaced, signed with the old and the new ones", "target", both, expected=TAKEN)
add(CHAIN, "root: all keys replaced, signed with the old ones only", "root", new_root(replace_root_keys, old_keys))
add(CHAIN, "root: all keys replaced, signed with the new ones only", "root", new_root(replace_root_keys, lambda _, o: o.keys["root"]))
add(
    CHAIN,
    "root: all keys replaced, signed with enough old ones and too few new ones",
    "root",
    new_root(replace_root_keys, lambda w, o: [*old_keys(w, o), o.keys["root"][0]]),
)
add(CHAIN, "root: one signature where two are needed (one root key stolen)", "root", new_root(same_root, lambda _, o: o.keys["root"][:1]))
add("control", "root: two signatures where two are needed", "target", new_root(same_root, lambda _, o: o.keys["root"][:2]), expected=TAKEN)


def one_signature_as(times: int, ids: list[str] | None = None) -> Play:
    """One key's signature, `times` times, under these ids."""

    def play(world: World) -> Scene:
        scene = new_root(same_root, lambda _, o: o.keys["root"][:1])(world)
        file = json.loads(scene.files["metadata/2.root.json"])
        (good,) = file["signatures"]
        known = [key.public_key.keyid for key in world.before.keys["root"]]
        file["signatures"] = [{**good, "keyid": (ids or known)[number] if ids is not None else good["keyid"]} for number in range(times)]
        scene.files["metadata/2.root.json"] = compact(file)
        return scene

    return play


def under_all_ids(world: World) -> Scene:
    known = [key.public_key.keyid for key in world.before.keys["root"]]
    return one_signature_as(2, known)(world)


add(CHAIN, "root: the signature of one key twice", "root", one_signature_as(2))
add(CHAIN, "root: the signature of one key under the ids of two", "root", under_all_ids)


def two_faces(edit: Callable[[dict], None]) -> Play:
    """A root that gives the timestamp one key under two ids, written differently, with a threshold
    of two. The key's thief signs under both ids."""

    def play(world: World) -> Scene:
        other = world.before.fork()
        (key,) = other.keys["timestamp"]
        keyid = key.public_key.keyid
        stolen = CryptoSigner.generate_ed25519()

        def second(signed: dict) -> None:
            face = json.loads(json.dumps(signed["keys"][keyid]))
            edit(face)
            signed["keys"]["ab" * 32] = face
            signed["roles"]["timestamp"] = {"keyids": [keyid, "ab" * 32], "threshold": 2}

        other.edits["root"] = second
        other.next_root(lambda root: root.add_key(stolen.public_key, "timestamp"))
        other.edits.clear()
        other.publish()
        file = json.loads(other.files["metadata/timestamp.json"])
        file["signatures"].append({**file["signatures"][0], "keyid": "ab" * 32})
        other.files["metadata/timestamp.json"] = compact(file)
        return show(other)

    return play


def other_lines(face: dict) -> None:
    face["keyval"]["public"] = face["keyval"]["public"].strip().replace("\n", "\r\n")


def bare_point(face: dict) -> None:
    public = load_pem_public_key(face["keyval"]["public"].encode())
    face["keyval"]["public"] = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()


FACES: dict[str, Callable[[dict], None]] = {
    "as it is": lambda face: None,
    "with other lines": other_lines,
    "of another key type": setting(keytype="ecdsa-sha2-nistp256"),
    "as a bare point": bare_point,
}


for title, face in FACES.items():
    play = two_faces(face)
    add(CHAIN, f"timestamp: one key under two ids, {title}, where two must sign", "timestamp", play, recovery=third_root)


@attack(CHAIN, "root: a key's id twice among those of a role, where two must sign", "timestamp", recovery=third_root)
def id_twice(world: World) -> Scene:
    other = world.before.fork()
    (key,) = other.keys["timestamp"]
    other.edits["root"] = lambda signed: signed["roles"].update(timestamp={"keyids": [key.public_key.keyid] * 2, "threshold": 2})
    other.next_root()
    other.edits.clear()
    other.publish()
    return show(other)


@attack(CHAIN, "root: the third in the place of the second", "root")
def skipped(world: World) -> Scene:
    other = world.after.fork()
    other.next_root()
    other.files["metadata/2.root.json"] = other.files["metadata/3.root.json"]
    return show(other)


@attack(CHAIN, "root: the second is kept back, in which the timestamp's key was replaced", "timestamp")
def gap(world: World) -> Scene:
    other = world.before.fork()
    other.replace_key("timestamp")
    other.next_root()
    other.publish()
    del other.files["metadata/2.root.json"]
    return show(other)


for title, wrong in {"2^64": 1 << 64, '"2"': "2", "2^64 - 1": (1 << 64) - 1, "0": 0}.items():

    def versioned(world: World, v: object = wrong) -> Scene:
        other = world.before.fork()
        other.edits["root"] = setting(version=v)
        other.next_root()
        other.edits.clear()
        other.publish()
        return show(other)

    add(CHAIN, f"root: signed by all, of version {title}", "root", versioned)
for title, threshold in {"0": 0, "-1": -1, "missing": None}.items():

    def with_threshold(world: World, t: object = threshold) -> Scene:
        other = world.before.fork()
        other.edits["root"] = lambda signed: signed["roles"]["timestamp"].update(threshold=t)
        other.next_root()
        other.edits.clear()
        other.publish()
        return show(other)

    add(CHAIN, f"root: signed by all, the timestamp's threshold is {title}", "root", with_threshold)


def many_roots(world: World) -> Scene:
    other = world.before.fork()
    for _ in range(300):
        other.next_root(signers=other.keys["root"][::2])
    other.publish()
    return show(other)


add(
    CHAIN,
    "root: 300 new ones, where 256 are read in one go; the next update goes on",
    "root",
    many_roots,
    says="root",
    recovery=many_roots,
    stored=(("root.json", "metadata/257.root.json"),),
)
