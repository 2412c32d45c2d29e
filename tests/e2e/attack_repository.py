"""A repository in memory. The test has the keys of all roles, so it can play a hostile holder of
each.

    targets ─┬─ party (party/*) ── party.deep (party/deep-*)
             ├─ shared (shared/*) ── shared-0 … shared-3 (succinct, TAP 15)
             └─ bin-0 … bin-3 (by the first digit of a name's SHA-256)
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from .foreign import SPEC, TOP, digits, in_days

BINS = {f"bin-{number}": [f"{digit:x}" for digit in range(number * 4, number * 4 + 4)] for number in range(4)}
SHARED = tuple(SuccinctRoles([], 1, 2, "shared").get_roles())
# Each role, before the roles that it delegates to.
ROLES = ("targets", "party", "party.deep", "shared", *SHARED, *BINS)

# The published targets, and their roles.
FIRMWARE, DEEP, SHARED_TARGET = "firmware.bin", "party/deep-tool", "shared/tool"
TARGETS = {"top.bin": "targets", "party/tool": "party", DEEP: "party.deep"}

Edit = Callable[[dict], None]


def bin_of(name: str) -> str:
    return next(role for role, prefixes in BINS.items() if digits(name)[0] in prefixes)


def elsewhere(name: str, other: str) -> str:
    """A name like `other` that is in another bin than `name`."""
    return next(made for number in range(99) if bin_of(made := f"{other}-{number}") != bin_of(name))


OTHER = elsewhere(FIRMWARE, "other")
PUBLISHED = (*TARGETS, FIRMWARE, OTHER, SHARED_TARGET)


def role_of(name: str) -> str:
    if name == SHARED_TARGET:
        return SuccinctRoles([], 1, 2, "shared").get_role_for_target(name)
    return TARGETS.get(name) or bin_of(name)


def compact(file: object) -> bytes:
    return json.dumps(file, separators=(",", ":"), ensure_ascii=False).encode()


def ecdsa() -> CryptoSigner:
    """A key whose PEM contains a K. Unicode's form C turns U+212A into this letter too."""
    while True:
        key = CryptoSigner.generate_ecdsa()
        if "K" in key.public_key.keyval["public"].split("-----")[2]:
            return key


class Repository:
    """The files by path, and the metadata that they are made of. `listing` says what the snapshot
    lists of a role, and the timestamp of the snapshot:

    - `full`: version, length and digest;
    - `lean`: the version only, except in the timestamp; no two documents of the targets share a
      version;
    - `bare`: the version only, everywhere, and all documents share it.

    Without `succinct`, the roles below `shared` are listed one by one, for clients that don't
    support TAP 15.
    """

    def __init__(self, listing: str = "full", lasts: datetime | None = None, succinct: bool = True) -> None:
        self.listing, self.lasts, self.succinct = listing, lasts, succinct
        self.keys = {role: [CryptoSigner.generate_ed25519()] for role in ("targets", "party", "party.deep", "shared", "shared-bins")}
        self.keys |= {role: [ecdsa()] for role in ("timestamp", "snapshot", "bins")}
        self.keys["root"] = [CryptoSigner.generate_ed25519(), ecdsa(), CryptoSigner.generate_ed25519()]
        self.root = Root(1, SPEC, in_days(365))
        for role in TOP:
            for key in self.keys[role]:
                self.root.add_key(key.public_key, role)
        self.root.roles["root"].threshold = 2
        self.files: dict[str, bytes] = {}
        self.version = 0
        self.documents: dict[str, bytes] = {}
        self.edits: dict[str, Edit] = {}
        self.put_root()
        self.publish()

    def fork(self) -> "Repository":
        """A copy that continues independently, with the same keys."""
        other = copy.copy(self)
        other.root = copy.deepcopy(self.root)
        other.keys = {role: list(signers) for role, signers in self.keys.items()}
        other.files, other.documents, other.edits = dict(self.files), dict(self.documents), dict(self.edits)
        return other

    # Documents

    def signers(self, role: str) -> list[CryptoSigner]:
        role = "bins" if role in BINS else "shared-bins" if role in SHARED else role
        return self.keys[role]

    @staticmethod
    def seal(signed: dict, signers: Iterable[CryptoSigner]) -> bytes:
        """A signed file."""
        message = encode_canonical(signed).encode()
        return compact({"signatures": [signer.sign(message).to_dict() for signer in signers], "signed": signed})

    def made(self, role: str, document: Signed, signers: Iterable[CryptoSigner] | None = None, edit: Edit | None = None) -> bytes:
        """The file of a document. `edits[role]` and `edit` change the content before it is
        signed."""
        signed = document.to_dict()
        for change in (self.edits.get(role), edit):
            if change:
                change(signed)
        return self.seal(signed, self.signers(role) if signers is None else signers)

    def target_paths(self, name: str) -> list[str]:
        """The path of a target, and the path by which tough asks for it, with the digest in front
        of the whole name."""
        path, digest = self.target_path(name), hashlib.sha256(self.content(name)).hexdigest()
        return sorted({path, f"targets/{digest}.{name}"})

    def content(self, name: str, version: int | None = None) -> bytes:
        """The bytes of a target. All versions have the same length."""
        return f"{name} of version {version or self.version}\n".encode().ljust(3000, b".")

    def path(self, role: str) -> str:
        return "metadata/timestamp.json" if role == "timestamp" else f"metadata/{self.version_of(role)}.{role}.json"

    def version_of(self, role: str) -> int:
        if role == "root":
            return self.root.version
        if role not in ROLES or self.listing == "bare":
            return self.version
        return 100 * self.version + ROLES.index(role)

    def target_path(self, name: str) -> str:
        folder, slash, last = name.rpartition("/")
        return f"targets/{folder}{slash}{hashlib.sha256(self.content(name)).hexdigest()}.{last}"

    # Publishing

    def next_root(self, edit: Callable[[Root], None] | None = None, signers: Iterable[CryptoSigner] | None = None) -> None:
        """Publishes another version of the root, signed by all old and new keys unless `signers`
        are given."""
        self.root.version += 1
        if edit:
            edit(self.root)
        self.put_root(signers)

    def put_root(self, signers: Iterable[CryptoSigner] | None = None) -> None:
        self.files[f"metadata/{self.root.version}.root.json"] = self.made("root", self.root, signers)

    def replace_key(self, role: str) -> None:
        """Replaces the only key of a role, as after a theft."""
        old, new = self.keys[role][0], ecdsa()
        self.keys[role] = [new]

        def edit(root: Root) -> None:
            root.revoke_key(old.public_key.keyid, role)
            root.add_key(new.public_key, role)

        self.next_root(edit)

    def publish(self) -> None:
        """Publishes the next version of everything except the root."""
        self.version += 1
        for name in PUBLISHED:
            self.files |= dict.fromkeys(self.target_paths(name), self.content(name))
        self.put_roles()

    def put_roles(self) -> None:
        """Writes all documents of this version, again after a change."""
        for role in reversed(ROLES):
            self.put(role, self.targets(role))
        self.put_snapshot()

    def put_snapshot(self) -> None:
        self.put("snapshot", Snapshot(self.version, SPEC, self.expires, {f"{role}.json": self.meta(role) for role in ROLES}))
        self.put_timestamp()

    def put_timestamp(self) -> None:
        self.put("timestamp", Timestamp(self.version, SPEC, self.expires, self.meta("snapshot")))

    def put(self, role: str, document: Signed) -> None:
        file = self.made(role, document)
        # An edit may have changed the version too.
        version = json.loads(file)["signed"].get("version")
        self.files["metadata/timestamp.json" if role == "timestamp" else f"metadata/{version}.{role}.json"] = file
        self.documents[role] = file

    @property
    def expires(self) -> datetime:
        return self.lasts or in_days(20)

    def meta(self, role: str) -> MetaFile:
        file = self.documents[role]
        version = json.loads(file)["signed"]["version"]
        if self.listing == "bare" or (self.listing == "lean" and role != "snapshot"):
            return MetaFile(version)
        return MetaFile(version, len(file), {"sha256": hashlib.sha256(file).hexdigest()})

    def target(self, name: str) -> TargetFile:
        return TargetFile.from_data(name, self.content(name), ["sha256"])

    def targets(self, role: str) -> Targets:
        listed = {name: self.target(name) for name in PUBLISHED if role_of(name) == role}
        return Targets(self.version_of(role), SPEC, self.expires, listed, self.delegations(role))

    def delegations(self, role: str) -> Delegations | None:
        def keys(*roles: str) -> dict:
            return {key.public_key.keyid: key.public_key for role in roles for key in self.keys[role]}

        def to(role: str, **options: object) -> DelegatedRole:
            return DelegatedRole(role, [key.public_key.keyid for key in self.signers(role)], 1, **options)

        match role:
            case "targets":
                bins = [to(name, terminating=True, path_hash_prefixes=prefixes) for name, prefixes in BINS.items()]
                parties = [to(name, terminating=False, paths=[f"{name}/*"]) for name in ("party", "shared")]
                return Delegations(keys("party", "shared", "bins"), {made.name: made for made in [*parties, *bins]})
            case "party":
                return Delegations(keys("party.deep"), {"party.deep": to("party.deep", terminating=False, paths=["party/deep-*"])})
            case "shared":
                if not self.succinct:
                    shared = [to(name, terminating=True, path_hash_prefixes=prefixes) for name, prefixes in zip(SHARED, BINS.values(), strict=True)]
                    return Delegations(keys("shared-bins"), {made.name: made for made in shared})
                succinct = SuccinctRoles([key.public_key.keyid for key in self.keys["shared-bins"]], 1, 2, "shared")
                return Delegations(keys("shared-bins"), None, succinct)
        return None
