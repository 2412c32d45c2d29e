"""A device: python-tuf's unmodified client, which knows only the trusted root and two URLs."""

import hashlib
import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import urllib3.exceptions
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface, Updater


class Device:
    """A device that keeps its metadata in `folder` from one update to the next.

    `fetcher` fetches for it if the repository isn't open to all.
    """

    def __init__(self, endpoints: dict, folder: Path, fetcher: FetcherInterface | None = None) -> None:
        self.endpoints = endpoints
        self.fetcher = fetcher
        self.metadata = folder / "metadata"
        self.downloads = folder / "downloads"
        for made in (self.metadata, self.downloads):
            made.mkdir(parents=True, exist_ok=True)
        self.root = Path(endpoints["trusted_root"]).read_bytes()

    def update(self) -> Updater:
        """Updates and verifies the metadata, also against what this device saw before."""
        updater = Updater(
            str(self.metadata),
            self.endpoints["metadata_url"],
            str(self.downloads),
            self.endpoints["targets_url"],
            fetcher=self.fetcher,
            bootstrap=self.root,
        )
        updater.refresh()
        return updater

    def find(self, names: Iterable[str]) -> dict[str, str | None]:
        """What this device sees under each name after an update: a SHA-256, or `None` if there is
        no such target."""
        updater = self.update()
        found = ((name, updater.get_targetinfo(name)) for name in names)
        return {name: info and info.hashes["sha256"] for name, info in found}

    def custom(self, name: str) -> dict | None:
        """The custom metadata of a target."""
        info = self.update().get_targetinfo(name)
        assert info is not None, f"no target {name}"
        return info.custom

    def download(self, name: str) -> Path:
        """Downloads and verifies a target, and returns its path."""
        updater = self.update()
        info = updater.get_targetinfo(name)
        assert info is not None, f"no target {name}"
        return Path(updater.download_target(info))

    def download_bytes(self, name: str) -> bytes:
        """The bytes of a downloaded target."""
        return self.download(name).read_bytes()


class SteadyDevice(threading.Thread):
    """A device that updates continuously during the `with` block, and downloads what it finds.

    An unreachable server doesn't count as a failure; everything else does. The block raises an
    error if anything failed, or if the device never succeeded.
    """

    def __init__(self, device: Device, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.device = device
        self.names = names
        self.updates = self.unreachable = 0
        self.failures: list[str] = []
        self.versions: list[int] = []
        self._over = threading.Event()

    def run(self) -> None:
        chance = random.Random(1)
        while not self._over.is_set():
            try:
                updater = self.device.update()
                self.versions.append(updater._trusted_set.timestamp.version)
                if info := updater.get_targetinfo(chance.choice(self.names)):
                    updater.download_target(info)
                self.updates += 1
            except Exception as error:
                if _unreachable(error):
                    self.unreachable += 1
                    time.sleep(0.02)
                else:
                    self.failures.append(repr(error))

    def __enter__(self) -> "SteadyDevice":
        self.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._over.set()
        self.join()
        if error is None:
            assert not self.failures, f"{len(self.failures)} failures, first {self.failures[0]}"
            assert self.updates > 10, f"only {self.updates} updates, {self.unreachable} times unreachable"
            assert self.versions == sorted(self.versions), "the timestamp went back"


def _unreachable(error: Exception) -> bool:
    if isinstance(error, urllib3.exceptions.HTTPError):
        return True  # a connection that broke while bytes were coming
    return isinstance(error, DownloadError) and not isinstance(error, DownloadHTTPError | DownloadLengthMismatchError)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
