"""Taking over another tool's repository with `tufline import`."""

import shutil
import subprocess
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from .device import Device
from .foreign import ForeignRepository
from .form import DONE, Form, one_line_error, run
from .tuf_js import TufJsDevice


class Import:
    """A person who takes over a repository, and the holder of its root key."""

    def __init__(
        self,
        folder: Path,
        foreign: ForeignRepository,
        form: Form,
        place: list[object] | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.foreign = foreign
        self.form = form
        self.place = place or ["--data", form.data]
        # The environment variables with which a person may import on AWS.
        self.variables = variables
        # The root that the devices in the field were shipped with.
        self.trusted = folder / "trusted-root.json"
        shutil.copy(foreign.metadata / "1.root.json", self.trusted)
        self.next = folder / f"{foreign.root.version + 1}.root.json"

    def run(self, *arguments: object, source: object = None) -> subprocess.CompletedProcess:
        command = ["import", source or self.foreign.folder, *self.place, *arguments]
        return run(*command, variables=self.variables, cwd=self.folder)

    def done(self, *arguments: object, source: object = None) -> str:
        done = self.run(*arguments, source=source)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return done.stdout

    def refused(self, why: str, *arguments: object, source: object = None) -> None:
        """Imports, which must be refused in one line, without writing anything."""
        before = self.files()
        error = one_line_error(self.run(*arguments, source=source))
        assert why in error, error
        assert self.files() == before, "something was written"

    def files(self) -> dict[str, bytes]:
        """All files here, and the meaningful files of the new repository."""
        paths = [*self.folder.glob("*.root.json"), *self.form.data.rglob("*")]
        # The lock file contains the process number.
        return {str(path): path.read_bytes() for path in paths if path.is_file() and path.name != "lock"}

    def sign(self, *signers: CryptoSigner, path: Path | None = None) -> None:
        """Signs as the holders of the old root key do with their own tool."""
        path = path or self.next
        metadata = Metadata[Root].from_file(str(path))
        for signer in signers or self.foreign.keys[Root.type]:
            metadata.sign(signer, append=True)
        metadata.to_file(str(path))

    def ceremony(self, *arguments: object, source: object = None) -> None:
        """Both steps of an import, with the signature between them."""
        self.done(*arguments, source=source)
        self.sign()
        self.done(*arguments, "--next-root", self.next, source=source)


class FieldDevice:
    """A device in the field, which keeps its state across the move."""

    def __init__(self, kind: type, folder: Path, root: Path) -> None:
        folder.mkdir()
        self.endpoints = {"trusted_root": str(root), "metadata_url": "", "targets_url": ""}
        self.client = kind(self.endpoints, folder)

    def at(self, metadata_url: str, targets_url: str) -> Device | TufJsDevice:
        """The device, with its two URLs leading here."""
        self.endpoints |= {"metadata_url": metadata_url, "targets_url": targets_url}
        return self.client
