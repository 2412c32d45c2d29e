"""Repositories of others, made with python-tuf's metadata API in the layouts of tuftool, python-tuf
and go-tuf."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

TOP = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
SPEC = "1.0.31"


def in_days(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


class ForeignRepository:
    """A repository in `folder`. Each role has its own key; the root has those of its `holders`, if
    there are any.

    With `tuftool_names`, the digest of a target in a folder is in front of its whole name, as
    tuftool writes it, rather than in front of its last part. With `bins`, the targets are in that
    many delegated roles.
    """

    def __init__(
        self,
        folder: Path,
        consistent: bool = True,
        hashes: tuple[str, ...] = ("sha256",),
        tuftool_names: bool = False,
        bins: int = 0,
        flat: bool = False,
        bin_prefix: str = "bin-",
        holders: list[CryptoSigner] | None = None,
    ) -> None:
        self.folder = folder
        # go-tuf's command keeps metadata beside the folder of targets.
        self.metadata = folder if flat else folder / "metadata"
        self.targets = folder / "targets"
        self.hashes = hashes
        self.tuftool_names = tuftool_names
        self.bins = bins
        self.bin_prefix = bin_prefix
        for made in (self.metadata, self.targets):
            made.mkdir(parents=True, exist_ok=True)
        self.keys = {role: [CryptoSigner.generate_ed25519()] for role in (*TOP, "bins")}
        self.keys[Root.type] = holders or self.keys[Root.type]
        self.root = Root(spec_version=SPEC, expires=in_days(365), consistent_snapshot=consistent)
        for role in TOP:
            for key in self.keys[role]:
                self.root.add_key(key.public_key, role)
            self.root.roles[role].threshold = len(self.keys[role])
        self.contents: dict[str, bytes] = {}
        self.customs: dict[str, dict] = {}
        self.versions = {Targets.type: 0, Snapshot.type: 0, Timestamp.type: 0}
        self.write_root(self.keys[Root.type])

    def write_root(self, signers: list[CryptoSigner]) -> None:
        self._save(Metadata(self.root), signers, f"{self.root.version}.root.json")

    def next_root(self, signers: list[CryptoSigner] | None = None) -> None:
        """Publishes the edited root as the next version."""
        self.root.version += 1
        self.write_root(signers or self.keys[Root.type])

    def replace_key(self, role: str) -> None:
        """Replaces a role's key with two versions of the root: one adds the new key, the other
        drops the old one."""
        old, new = self.keys[role][0], CryptoSigner.generate_ed25519()
        self.root.add_key(new.public_key, role)
        self.next_root()
        self.keys[role] = [new]
        self.publish()
        self.root.revoke_key(old.public_key.keyid, role)
        self.next_root()

    def publish(self, contents: Mapping[str, bytes] = MappingProxyType({}), expires: datetime | None = None, by: int = 1) -> None:
        """Publishes all targets, including `contents`. Versions go up by `by`."""
        self.contents |= contents
        for name, data in contents.items():
            self._write_target(name, data)
        for role in self.versions:
            self.versions[role] += by
        expires = expires or in_days(30)
        listed = {name: self._target(name, data) for name, data in self.contents.items()}
        meta = {}
        delegations = None
        if self.bins:
            key = self.keys["bins"][0].public_key
            roles = {}
            for number in range(self.bins):
                name, prefix = f"{self.bin_prefix}{number:x}", f"{number:x}"
                roles[name] = DelegatedRole(name, [key.keyid], 1, True, path_hash_prefixes=[prefix])
                mine = {target: file for target, file in listed.items() if digits(target).startswith(prefix)}
                document = Targets(self.versions[Targets.type] + number, SPEC, expires, mine)
                meta[f"{name}.json"] = self._write(name, document, self.keys["bins"])
            delegations, listed = Delegations({key.keyid: key}, roles), {}
        top = Targets(self.versions[Targets.type], SPEC, expires, listed, delegations)
        meta["targets.json"] = self._write(Targets.type, top, self.keys[Targets.type])
        self.finish(meta, expires)

    def finish(self, meta: dict[str, MetaFile], expires: datetime | None = None) -> None:
        """Publishes a snapshot of these, and its timestamp."""
        expires = expires or in_days(30)
        snapshot = Snapshot(self.versions[Snapshot.type], SPEC, expires, meta)
        written = self._write(Snapshot.type, snapshot, self.keys[Snapshot.type])
        timestamp = Timestamp(self.versions[Timestamp.type], SPEC, expires, written)
        self._save(Metadata(timestamp), self.keys[Timestamp.type], "timestamp.json")

    def _write(self, role: str, document: Targets | Snapshot, signers: list[CryptoSigner]) -> MetaFile:
        file = f"{quote(role, safe='')}.json"
        name = f"{document.version}.{file}" if self.root.consistent_snapshot else file
        written = self._save(Metadata(document), signers, name)
        return MetaFile(document.version, len(written), {"sha256": hashlib.sha256(written).hexdigest()})

    def _save(self, metadata: Metadata, signers: list[CryptoSigner], name: str) -> bytes:
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        written = metadata.to_bytes()
        (self.metadata / name).write_bytes(written)
        return written

    def _target(self, name: str, data: bytes) -> TargetFile:
        hashes = {algorithm: hashlib.new(algorithm, data).hexdigest() for algorithm in self.hashes}
        custom = {"custom": self.customs[name]} if name in self.customs else {}
        return TargetFile(len(data), hashes, name, custom)

    def target_path(self, name: str, data: bytes) -> Path:
        if not self.root.consistent_snapshot:
            return self.targets / name
        digest = hashlib.new(self.hashes[0], data).hexdigest()
        folder, slash, file = name.rpartition("/")
        return self.targets / (f"{digest}.{name}" if self.tuftool_names else f"{folder}{slash}{digest}.{file}")

    def _write_target(self, name: str, data: bytes) -> None:
        path = self.target_path(name, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def signed(self, file: str) -> dict:
        return json.loads((self.metadata / file).read_text())["signed"]


def digits(name: str) -> str:
    """The digits that decide in which bin a target is."""
    return hashlib.sha256(name.encode()).hexdigest()
