"""Holders of root keys, who use `tufline root` or python-tuf."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from .form import DONE, run


class Holder:
    """A holder with a key in a file, made by `tufline root keygen`."""

    def __init__(self, name: str, folder: Path, kind: str = "--p256") -> None:
        self.name = name
        self.pem = folder / f"{name}.pem"
        self.passphrase = f"correct horse {name}"
        self.passphrase_file = folder / f"{name}.passphrase"
        self.passphrase_file.write_text(f"{self.passphrase}\n")
        self.make(kind)

    def make(self, kind: str) -> None:
        done = run("root", "keygen", "--out", self.pem, kind, "--passphrase-file", self.passphrase_file)
        assert done.returncode == DONE, done.stderr

    @property
    def key(self) -> list[object]:
        """The arguments that name the public key."""
        return ["--key", f"{self.name}={self.pem.with_suffix('.pub')}"]

    @property
    def signing(self) -> list[object]:
        """The arguments for signing."""
        return ["--key", self.pem, "--passphrase-file", self.passphrase_file]

    def private(self):
        """The private key, read by Python's library."""
        return serialization.load_pem_private_key(self.pem.read_bytes(), self.passphrase.encode())

    def sign_with_python_tuf(self, metadata: Metadata[Root]) -> None:
        """Signs as a user of python-tuf does, with the key as the root lists it."""
        public = self.private().public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for key in metadata.signed.keys.values():
            if same(public, key.keyval["public"]):
                metadata.sign(CryptoSigner(self.private(), key), append=True)
                return
        raise AssertionError(f"{self.name} has no key in this root")


class RsaHolder(Holder):
    """A holder with an RSA key that another tool made."""

    def make(self, kind: str) -> None:
        key = rsa.generate_private_key(65537, 3072)
        best = serialization.BestAvailableEncryption(self.passphrase.encode())
        self.pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, best))
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.pem.with_suffix(".pub").write_bytes(public)


class KmsHolder(Holder):
    """A holder with a key in KMS. `variables` are the environment variables that give access to
    it."""

    def __init__(self, name: str, arn: str) -> None:
        self.name = name
        self.arn = arn

    @property
    def key(self) -> list[object]:
        return ["--kms-key", f"{self.name}={self.arn}"]

    @property
    def signing(self) -> list[object]:
        return ["--kms-key", self.arn]


def same(pem: bytes, public: str) -> bool:
    """Whether both are the same public key; a root lists Ed25519 keys in hexadecimal."""
    key = serialization.load_pem_public_key(pem)
    if not public.startswith("-----"):
        raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return hasattr(key, "public_bytes_raw") and key.public_bytes(*raw).hex() == public
    return key == serialization.load_pem_public_key(public.encode())


Edit = Callable[[Root], None]


def edit_with_python_tuf(path: Path, edit: Edit, *signers: Holder) -> None:
    """Edits and signs a root as a user of python-tuf does."""
    metadata = Metadata[Root].from_file(str(path))
    edit(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        signer.sign_with_python_tuf(metadata)
    metadata.to_file(str(path))
