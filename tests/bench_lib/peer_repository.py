"""Repositories as other tools make them, with python-tuf's metadata API: one flat `targets.json`,
or a fixed number of bins.

The snapshot lists the length and SHA-256 of every role, as other tools do by default. All roles
have one key, in a file.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

from .names import content, digits, name

EXPIRES = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)

# tuftool changes no repository with another version.
SPEC = "1.0.0"

# The prefix of the names of succinct bins (TAP 15); their number in hexadecimal digits follows.
SUCCINCT_PREFIX = "bin"


@dataclass(frozen=True)
class Layout:
    """How targets are distributed over roles: all in one, or over this many bins, either each with
    a path hash prefix or all in succinct form."""

    bins: int = 0
    succinct: bool = False

    def __str__(self) -> str:
        if not self.bins:
            return "flat"
        return f"{self.bins:,} {'succinct ' if self.succinct else ''}bins"

    @property
    def digits(self) -> int:
        """The number of hexadecimal digits that choose a bin."""
        return len(f"{self.bins - 1:x}")

    def role(self, target: str) -> str:
        """The role that lists a target."""
        if not self.bins:
            return Targets.type
        prefix = digits(target)[: self.digits]
        return f"{SUCCINCT_PREFIX}-{prefix}" if self.succinct else prefix

    def roles(self) -> list[str]:
        prefixes = [f"{number:0{self.digits}x}" for number in range(self.bins)]
        return [f"{SUCCINCT_PREFIX}-{prefix}" if self.succinct else prefix for prefix in prefixes]


def new_key(file: Path) -> None:
    """Makes a key in the form that tuftool reads: a key of this kind only in DER."""
    key = generate_private_key(SECP256R1())
    file.write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def read_key(file: Path) -> CryptoSigner:
    return CryptoSigner(load_der_private_key(file.read_bytes(), None))


class PeerRepository:
    """A repository in a folder: `metadata/`, with `key.der` beside it."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self.metadata = folder / "metadata"
        self.signer: CryptoSigner | None = None

    def make(self, targets: int) -> "PeerRepository":
        """Makes the repository, with this many targets."""
        self.metadata.mkdir(parents=True)
        new_key(self.folder / "key.der")
        self._open()
        key = self.signer.public_key
        roles = {role: Role([key.keyid], 1) for role in (Root.type, Targets.type, Snapshot.type, Timestamp.type)}
        self._write(Root.type, Metadata(Root(spec_version=SPEC, expires=EXPIRES, keys={key.keyid: key}, roles=roles)))
        by_role: dict[str, dict[str, TargetFile]] = defaultdict(dict)
        for target in map(name, range(targets)):
            by_role[self.layout.role(target)][target] = target_file(target, content(target))
        meta = {}
        for role in (Targets.type, *self.layout.roles()):
            delegations = self._delegations(key) if role == Targets.type and self.layout.bins else None
            document = Metadata(
                Targets(spec_version=SPEC, expires=EXPIRES, targets=by_role.pop(role, {}), delegations=delegations)
            )
            meta[f"{role}.json"] = meta_file(1, self._write(role, document))
        self._show(
            Metadata(Snapshot(spec_version=SPEC, expires=EXPIRES, meta=meta)),
            Metadata(Timestamp(spec_version=SPEC, expires=EXPIRES)),
        )
        return self

    def _open(self) -> None:
        self.signer = read_key(self.folder / "key.der")

    def _delegations(self, key: Key) -> Delegations:
        if self.layout.succinct:
            bits = (self.layout.bins - 1).bit_length()
            return Delegations({key.keyid: key}, succinct_roles=SuccinctRoles([key.keyid], 1, bits, SUCCINCT_PREFIX))
        bins = self.layout.roles()
        roles = {bin_: DelegatedRole(bin_, [key.keyid], 1, True, path_hash_prefixes=[bin_]) for bin_ in bins}
        return Delegations({key.keyid: key}, roles)

    def set(self, target: str, data: bytes) -> None:
        """Publishes one new or changed target with no more work than necessary: it reads and writes
        the role that lists the target, the snapshot and the timestamp."""
        self._open()
        timestamp = Metadata[Timestamp].from_file(str(self.metadata / "timestamp.json"))
        snapshot: Metadata[Snapshot] = self._read(Snapshot.type, timestamp.signed.snapshot_meta.version)
        role = self.layout.role(target)
        document: Metadata[Targets] = self._read(role, snapshot.signed.meta[f"{role}.json"].version)
        document.signed.targets[target] = target_file(target, data)
        document.signed.version += 1
        snapshot.signed.meta[f"{role}.json"] = meta_file(document.signed.version, self._write(role, document))
        snapshot.signed.version += 1
        timestamp.signed.version += 1
        self._show(snapshot, timestamp)

    def _show(self, snapshot: Metadata[Snapshot], timestamp: Metadata[Timestamp]) -> None:
        written = self._write(Snapshot.type, snapshot)
        timestamp.signed.snapshot_meta = meta_file(snapshot.signed.version, written)
        timestamp.sign(self.signer)
        (self.metadata / "timestamp.json").write_bytes(timestamp.to_bytes())

    def _read(self, role: str, version: int) -> Metadata:
        return Metadata.from_file(str(self.metadata / f"{version}.{role}.json"))

    def _write(self, role: str, document: Metadata) -> bytes:
        document.sign(self.signer)
        written = document.to_bytes()
        (self.metadata / f"{document.signed.version}.{role}.json").write_bytes(written)
        return written


def target_file(target: str, data: bytes) -> TargetFile:
    return TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, target)


def meta_file(version: int, written: bytes) -> MetaFile:
    return MetaFile(version, len(written), {"sha256": hashlib.sha256(written).hexdigest()})
