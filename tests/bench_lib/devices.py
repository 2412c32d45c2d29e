"""What a device downloads to look for updates: python-tuf's client, which reads a repository from a folder and counts.

Tufline's repositories, for several `max_targets_per_bin`, stand beside a flat `targets.json` and fixed numbers of bins. In
the course of its life a device sees a repository for the first time, sees it unchanged, sees that another target changed,
and then that its own did.
"""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_lib import Refusal
from e2e.device import Device, sha256
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from . import scale
from .figures import byte_count, table
from .names import changed, content, name
from .peer_repository import Layout, PeerRepository

# `max_targets_per_bin`.
PER_BIN = (250, 500, 1000, 2000, 4000)

LAYOUTS = (Layout(), Layout(256), Layout(4096), Layout(256, succinct=True), Layout(4096, succinct=True))

# A device asks one thing after another, so that each request is a round trip. Seconds, on a mobile network.
ROUND_TRIP = 0.1

STATES = ("base", "other", "own")


@dataclass(frozen=True)
class Check:
    """What one look for updates took."""

    requests: int
    raw: int
    gzipped: int


class Folder(FetcherInterface):
    """Fetches from a folder and counts. Answers are gzipped only to see how long they would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = "base"
        self._lengths: dict[Path, int] = {}
        self.reset()

    def reset(self) -> None:
        self.requests = self.raw = self.gzipped = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = url.rpartition("/")[2]
        path = self.folder / (f"{self.state}.timestamp.json" if file == "timestamp.json" else f"metadata/{file}")
        self.requests += 1
        if not path.exists():
            raise DownloadHTTPError(f"there is no {file}", 404)
        body = path.read_bytes()
        if path not in self._lengths:
            self._lengths[path] = len(gzip.compress(body, 6))
        self.raw += len(body)
        self.gzipped += self._lengths[path]
        yield body

    def check(self, device: Device, state: str, target: str, expected: bytes) -> Check:
        """Has a device look at the repository as it is in `state`."""
        self.reset()
        self.state = state
        if device.find([target]) != {target: sha256(expected)}:
            raise Refusal(f"a device does not see {target} as it is")
        return Check(self.requests, self.raw, self.gzipped)


def life(folder: Path) -> list[Check]:
    """A device that sees all states of the repository in `folder`."""
    own = name(0)
    fetcher = Folder(folder)
    endpoints = {"metadata_url": "folder:///metadata/", "targets_url": "folder:///targets/"}
    endpoints["trusted_root"] = str(folder / "metadata" / "1.root.json")
    device = Device(endpoints, folder / "device", fetcher)
    seen = [fetcher.check(device, state, own, content(own)) for state in ("base", "base", "other")]
    return [*seen, fetcher.check(device, "own", own, changed(own))]


def peer(folder: Path, layout: Layout, targets: int) -> Path:
    """Makes a repository as others have it, and the states that it is in."""
    repository = PeerRepository(folder, layout).make(targets)
    own = name(0)
    other = next((name(number) for number in range(1, targets) if layout.role(name(number)) != layout.role(own)), name(1))
    for state, target in zip(STATES, (None, other, own), strict=True):
        if target is not None:
            repository.set(target, changed(target))
        shutil.copyfile(repository.metadata / "timestamp.json", folder / f"{state}.timestamp.json")
    return folder


def tables(scratch: Path, sizes: list[int]) -> Iterator[str]:
    """A table for each number of targets."""
    head = ("", "roles", "largest", "cold", "nothing changed", "other target changed", "own target changed", "RTT")
    for targets in sizes:
        rows = []
        for per_bin in PER_BIN:
            folder = scratch / "repository"
            made = scale.run("write", "--targets", targets, "--per-bin", per_bin, "--write", folder)
            described = f"Tufline, {per_bin:,} a bin"
            rows.append(row(described, made["roles"], made["largest_role_bytes"], life(folder)))
            shutil.rmtree(folder)
        for layout in LAYOUTS:
            folder = peer(scratch / "repository", layout, targets)
            largest = max(file.stat().st_size for file in (folder / "metadata").iterdir() if "snapshot" not in file.name)
            rows.append(row(str(layout), layout.bins + 1, largest, life(folder)))
            shutil.rmtree(folder)
        title = f"N = {targets:,}: requests / bytes / bytes gzipped of one look for updates, and the time of its round trips"
        yield f"{title} of {ROUND_TRIP * 1000:.0f} ms\n\n" + table([head, *rows], right=range(1, len(head)))


def row(what: str, roles: int, largest: int, checks: list[Check]) -> tuple[str, ...]:
    cells = (f"{check.requests} / {byte_count(check.raw)} / {byte_count(check.gzipped)}" for check in checks)
    waits = " / ".join(f"{check.requests * ROUND_TRIP:.1f}" for check in checks)
    return (what, f"{roles:,}", byte_count(largest), *cells, f"{waits} s")
