"""Repositories with every shape of delegation, made at random with python-tuf's metadata API."""

import hashlib
import random
from pathlib import Path
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from .foreign import SPEC, TOP, in_days

PATTERNS = ("*", "a/*", "*/*", "a/x*", "?/x1", "b/*", "[ab]/x?", "c/d/*", "*/*/*", "nothing")
NAMES = ("x1", "a/x1", "a/y", "b/x2", "b/z", "c/d/e", "é ü/x1", "q")
ROLES = ("A", "B", "C", "D", "é/E", "F")


class Shape:
    """A repository in `folder`. Its roles delegate to each other, also in circles, by patterns, by
    prefixes of digests and in bins. Some delegations are terminating, some roles are signed by keys
    unknown to the delegating role, and some are missing from the snapshot."""

    names = NAMES

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.metadata, self.chance = folder / "metadata", chance
        self.metadata.mkdir(parents=True)
        self.keys = {role: CryptoSigner.generate_ed25519() for role in (*TOP, *ROLES)}
        self.versions: dict[str, int] = {}
        self.signed: dict[str, Targets] = {}
        for role in (Targets.type, *ROLES):
            self.signed[role] = Targets(version=chance.randint(1, 9), spec_version=SPEC, expires=in_days(9))
            for name in chance.sample(NAMES, chance.randint(0, 2)):
                data = f"{role} {name}".encode()
                self.signed[role].targets[name] = TargetFile.from_data(name, data, ["sha256"])
            if role == Targets.type or chance.random() < 0.7:
                self.delegate(role)
        self.write()

    def delegate(self, role: str) -> None:
        """Makes this role delegate to others or to bins."""
        if role != Targets.type and self.chance.random() < 0.15:
            prefix = f"{quote(role, '')}-bin"
            self.signed[role].delegations = Delegations({}, succinct_roles=SuccinctRoles([], 1, self.chance.randint(1, 3), prefix))
            for name in self.signed[role].delegations.succinct_roles.get_roles():
                self.keys[name] = self.keys[role]
                self.signed[role].add_key(self.keys[role].public_key, name)
                lists = {
                    target: TargetFile.from_data(target, name.encode(), ["sha256"])
                    for target in NAMES
                    if self.signed[role].delegations.succinct_roles.get_role_for_target(target) == name and self.chance.random() < 0.6
                }
                self.signed[name] = Targets(version=1, spec_version=SPEC, expires=in_days(9), targets=lists)
            return
        roles = {}
        for to in self.chance.sample(ROLES, self.chance.randint(1, 4)):
            kind = {"paths": self.chance.sample(PATTERNS, self.chance.randint(1, 3))}
            if self.chance.random() < 0.3:
                digests = [hashlib.sha256(name.encode()).hexdigest() for name in self.chance.sample(NAMES, 3)]
                kind = {"path_hash_prefixes": [digest[: self.chance.randint(1, 8)] for digest in digests]}
            roles[to] = DelegatedRole(to, [], 1, self.chance.random() < 0.2, **kind)
        self.signed[role].delegations = Delegations({}, roles)
        for to in roles:
            # Sometimes a wrong key: then no known key has signed.
            signer = self.keys[to] if self.chance.random() < 0.95 else self.keys[Root.type]
            self.signed[role].add_key(signer.public_key, to)

    def write(self) -> None:
        meta = {f"{role}.json": MetaFile(signed.version) for role, signed in self.signed.items() if role == Targets.type or self.chance.random() < 0.97}
        for role, signed in self.signed.items():
            self.save(signed, role, f"{signed.version}.{quote(role, '')}.json")
        snapshot = Snapshot(version=1, spec_version=SPEC, expires=in_days(9), meta=meta)
        self.save(snapshot, Snapshot.type, "1.snapshot.json")
        self.save(Timestamp(version=1, spec_version=SPEC, expires=in_days(9), snapshot_meta=MetaFile(1)), Timestamp.type, "timestamp.json")
        root = Root(version=1, spec_version=SPEC, expires=in_days(9), consistent_snapshot=True)
        for role in TOP:
            root.add_key(self.keys[role].public_key, role)
        self.save(root, Root.type, "1.root.json")

    def save(self, signed: object, role: str, file: str) -> None:
        metadata = Metadata(signed)
        metadata.sign(self.keys[role])
        (self.metadata / file).write_bytes(metadata.to_bytes())
