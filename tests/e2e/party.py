"""Another party, which signs for its own names."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import MetaFile, Metadata, TargetFile, Targets

from .form import DONE, Form, run
from .holders import Holder

__all__ = ["MetaFile", "Party"]


class Party:
    """A vendor with keys, and a folder with the files that it ships. `paths` are the delegated
    names."""

    def __init__(self, form: Form, folder: Path, role: str, *holders: Holder) -> None:
        self.form = form
        self.role = role
        self.holders = holders
        self.folder = folder / role
        self.targets = self.folder / "targets"
        self.targets.mkdir(parents=True)
        self.file = self.folder / f"{role}.json"

    def put(self, name: str, data: bytes) -> None:
        """Adds a file that it ships, and uploads it."""
        place = self.targets / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        self.form.put(name, data)

    def remove(self, name: str) -> None:
        (self.targets / name).unlink()

    def sign(self, *holders: Holder, expires: str = "90 days") -> "Party":
        """Makes the next version, signed by these holders, or by all."""
        new: list[object] = ["--targets", self.targets, "--expires", expires]
        for holder in holders or self.holders:
            done = run("delegation", "sign", self.file, *new, *holder.signing)
            assert done.returncode == DONE, done.stderr
            new = []
        return self

    def deliver(self) -> str:
        """Uploads the signed document, and returns its SHA-256."""
        self.form.deliver(self.role, self.file.read_bytes())
        return self.role

    def with_python_tuf(self, version: int, holder: Holder, known: dict, names: dict[str, bytes], days: float = 90) -> None:
        """Makes and signs the document as a user of python-tuf does, with the keys as `targets`
        lists them."""
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        targets = {name: TargetFile.from_data(name, data, ["sha256"]) for name, data in names.items()}
        metadata = Metadata(Targets(version=version, expires=expires, targets=targets))
        for entry in known["keys"]:
            key = Key.from_dict(entry["keyid"], dict(entry["key"]))
            signer = CryptoSigner(holder.private(), key)
            metadata.sign(signer, append=True)
        self.file.write_bytes(metadata.to_bytes())

    def edit(self, change) -> None:
        """Changes the document, without signing it again."""
        text = json.loads(self.file.read_text())
        change(text)
        self.file.write_text(json.dumps(text))

    def backup(self, place: Path) -> None:
        shutil.copy(self.file, place)
