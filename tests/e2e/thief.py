"""A thief of keys, who stands between devices and the repository."""

import shutil
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, Root, Snapshot, Targets, Timestamp

from .device import Device
from .folder import FolderForm
from .holders import same
from .static_server import StaticServer


class Thief:
    """Serves all roots unchanged, and everything else that it can sign, during the `with` block."""

    def __init__(self, form: FolderForm, folder: Path) -> None:
        self.form = form
        self.folder = folder / "thief"
        self.source = form.data / "repository" / "metadata"
        shutil.copytree(self.source, self.folder / "metadata")
        self.keys = {}

    def __enter__(self) -> "Thief":
        self.server = StaticServer(self.folder).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    def steal(self, *roles: str) -> None:
        """Copies these online keys: those in use."""
        for role in roles:
            pem = (self.form.data / "keys" / f"{role}.pem").read_bytes()
            self.keys[role] = serialization.load_pem_private_key(pem, None)

    def follow(self) -> None:
        """Fetches the newest roots too."""
        for path in self.source.glob("*.root.json"):
            shutil.copy(path, self.folder / "metadata" / path.name)

    def catch(self, device) -> None:
        """Redirects the device to the thief."""
        device.endpoints = {**self.form.endpoints, "metadata_url": f"{self.server.url}metadata/"}

    def release(self, device) -> None:
        """Lets the device use the repository again."""
        device.endpoints = self.form.endpoints

    def read(self, file: str) -> Metadata:
        return Metadata.from_file(str(self.folder / "metadata" / file))

    def write(self, file: str, metadata: Metadata, role: str, keys: dict[str, Key]) -> None:
        """Signs with the stolen key of `role`, under its id among `keys`."""
        private = self.keys[role]
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        public = private.public_key().public_bytes(*form)
        metadata.signatures.clear()
        for key in keys.values():
            if same(public, key.keyval["public"]):
                metadata.sign(CryptoSigner(private, key), append=True)
        assert len(metadata.signatures) == 1, f"the stolen key of {role} was never trusted"
        metadata.to_file(str(self.folder / "metadata" / file))

    def first_root(self) -> Root:
        return self.read("1.root.json").signed

    def forge_timestamp(self, version: int, snapshot: int | None = None) -> None:
        metadata: Metadata[Timestamp] = self.read("timestamp.json")
        metadata.signed.version = version
        if snapshot is not None:
            meta = metadata.signed.snapshot_meta
            meta.version, meta.length, meta.hashes = snapshot, None, None
        self.write("timestamp.json", metadata, "timestamp", self.first_root().keys)

    def forge_snapshot(self, version: int, targets: int) -> None:
        newest = self.read("timestamp.json").signed.snapshot_meta.version
        metadata: Metadata[Snapshot] = self.read(f"{newest}.snapshot.json")
        metadata.signed.version = version
        metadata.signed.meta["targets.json"].version = targets
        self.write(f"{version}.snapshot.json", metadata, "snapshot", self.first_root().keys)

    def forge_targets(self, version: int, name: str, edit) -> None:
        newest = self.read("timestamp.json").signed.snapshot_meta.version
        current = self.read(f"{newest}.snapshot.json").signed.meta["targets.json"].version
        metadata: Metadata[Targets] = self.read(f"{current}.targets.json")
        metadata.signed.version = version
        edit(metadata.signed)
        self.write(f"{version}.targets.json", metadata, "targets", self.first_root().keys)


def accepts(device: Device) -> bool:
    """Whether the device accepts what it is served."""
    try:
        device.update()
    except Exception:
        return False
    return True
