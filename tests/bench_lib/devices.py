"""What a device downloads when it checks for updates.

During its life a device sees a repository for the first time, sees it unchanged, then with another
target changed, then with its own target changed, and then after a hundred more generations, each
with one other target changed.

Three comparisons:

- the clients, over HTTP, on a repository with Tufline's defaults;
- packs, for several `max_targets_per_bin`;
- these repositories with a flat `targets.json` and with fixed numbers of bins, by python-tuf's
  client, which reads a repository from a folder and counts.
"""

import gzip
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_lib import Refusal
from e2e import tough_device
from e2e.device import Device, sha256, sha256_of_file
from e2e.device_program import PROGRAM, DeviceProgram
from e2e.tuf_js import TufJsDevice
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from . import scale
from .counting import Counting, Traffic
from .figures import byte_count, table
from .names import changed, content, name
from .peer_repository import Layout, PeerRepository

# The values of `max_targets_per_bin`.
PER_BIN = (250, 500, 1000, 2000, 4000)
DEFAULT_PER_BIN = 1000

LAYOUTS = (Layout(), Layout(256), Layout(4096), Layout(256, succinct=True), Layout(4096, succinct=True))

# A check that takes longer is stopped, in seconds.
LIMIT = 300.0

# The time of a round trip on a mobile network, in seconds. A device makes its requests one after
# another.
ROUND_TRIP = 0.1

STATES = ("base", "other", "own")

# What a device sees in turn, and whether its own target has changed since.
LIFE = (
    ("cold", "base", False),
    ("nothing changed", "base", False),
    ("other target changed", "other", False),
    ("own target changed", "own", True),
    ("100 generations behind", "behind", True),
)


@dataclass(frozen=True)
class Check:
    """What one check for updates took."""

    requests: int
    raw: int
    gzipped: int


class Folder(FetcherInterface):
    """Fetches from a folder and counts. It compresses answers only to learn their compressed
    length."""

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
        """Lets a device check the repository in its state `state`."""
        self.reset()
        self.state = state
        if device.find([target]) != {target: sha256(expected)}:
            raise Refusal(f"a device does not see {target} as it is")
        return Check(self.requests, self.raw, self.gzipped)


def life(folder: Path) -> list[Check]:
    """The checks of a device that sees all states of the repository in `folder`."""
    own = name(0)
    fetcher = Folder(folder)
    endpoints = {"metadata_url": "folder:///metadata/", "targets_url": "folder:///targets/"}
    endpoints["trusted_root"] = str(folder / "metadata" / "1.root.json")
    device = Device(endpoints, folder / "device", fetcher)
    seen = [fetcher.check(device, state, own, content(own)) for state in ("base", "base", "other")]
    return [*seen, fetcher.check(device, "own", own, changed(own))]


def peer(folder: Path, layout: Layout, targets: int) -> Path:
    """Makes a repository as other tools do, in all its states."""
    repository = PeerRepository(folder, layout).make(targets)
    own = name(0)
    other = next((name(number) for number in range(1, targets) if layout.role(name(number)) != layout.role(own)), name(1))
    for state, target in zip(STATES, (None, other, own), strict=True):
        if target is not None:
            repository.set(target, changed(target))
        shutil.copyfile(repository.metadata / "timestamp.json", folder / f"{state}.timestamp.json")
    return folder


# Clients over HTTP


def python_tuf(server: Counting, folder: Path) -> Callable[[str], str | None]:
    device = Device(server.endpoints(), folder)
    return lambda name: device.find([name])[name]


def tuf_js(server: Counting, folder: Path) -> Callable[[str], str | None]:
    device = TufJsDevice(server.endpoints(), folder, limit=LIMIT)
    return lambda name: device.find([name])[name]


def tough(server: Counting, folder: Path) -> Callable[[str], str | None]:
    """tough checks by fetching the target."""
    points, out = server.endpoints(), folder / "fetched"

    def look(name: str) -> str | None:
        command = tough_device.command(folder, Path(points["trusted_root"]), points["metadata_url"], points["targets_url"], name, out)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode != 0:
            raise Refusal(done.stderr)
        return sha256_of_file(out)

    return look


def tufline_by_files(server: Counting, folder: Path) -> Callable[[str], str | None]:
    return _tufline(server, folder, "")


def tufline_by_packs(server: Counting, folder: Path) -> Callable[[str], str | None]:
    return _tufline(server, folder, f"pack-url = '{server.endpoints()['pack_url']}'")


def _tufline(server: Counting, folder: Path, settings: str) -> Callable[[str], str | None]:
    points = server.endpoints()
    device = DeviceProgram(folder, Path(points["trusted_root"]), points["metadata_url"], points["targets_url"], settings)
    return lambda name: device.answer("check", name)["targets"][0]["digest"]


CLIENTS = {
    "python-tuf": python_tuf,
    "tuf-js": tuf_js,
    "tough": tough,
    "tufline-device, by files": tufline_by_files,
    "tufline-device, by packs": tufline_by_packs,
}


def clients_life(folder: Path, client: str) -> list[Traffic | None]:
    """What a client took for all states of the repository in `folder`; `None` from the state on in
    which it took too long."""
    own = name(0)
    contents = {sha256(data): data for data in (content(own), changed(own))}
    taken: list[Traffic | None] = []
    with Counting(folder, contents) as server:
        look = CLIENTS[client](server, folder / client)
        for _, server.state, is_changed in LIFE:
            server.reset()
            try:
                found = look(own)
            except subprocess.TimeoutExpired:
                return [*taken, *(None for _ in LIFE[len(taken) :])]
            if found != sha256(changed(own) if is_changed else content(own)):
                raise Refusal(f"{client} does not see {own} as it is")
            taken.append(server.traffic())
    return taken


# Tables


def tables(scratch: Path, sizes: list[int]) -> Iterator[str]:
    """The tables for each number of targets."""
    if not PROGRAM.exists():
        raise Refusal(f"{PROGRAM} is missing: run `cargo build --release -p tufline-device`, or name another with TUFLINE_DEVICE_BIN")
    if not tough_device.PROGRAM.exists():
        raise Refusal(f"{tough_device.PROGRAM} is missing: run `cargo build --release -p tufline --example tough_device`")
    for targets in sizes:
        by_client, packs, rows = [], [], []
        for per_bin in PER_BIN:
            folder = scratch / "repository"
            made = scale.run("write", "--targets", targets, "--per-bin", per_bin, "--write", folder)
            packs.append((f"{per_bin:,}", f"{made['roles']:,}", *map(traffic, clients_life(folder, "tufline-device, by packs"))))
            if per_bin == DEFAULT_PER_BIN:
                shutil.rmtree(folder / "tufline-device, by packs")
                by_client = [(client, *map(traffic, clients_life(folder, client))) for client in CLIENTS]
            described = f"Tufline, {per_bin:,} a bin"
            rows.append(row(described, made["roles"], made["largest_role_bytes"], life(folder)))
            shutil.rmtree(folder)
        lives = [what for what, _, _ in LIFE]
        what = "requests / bytes of bodies / of heads, both ways, of one look for updates"
        yield f"N = {targets:,}: {what}\n\n" + table([("", *lives), *by_client], right=range(1, len(lives) + 1))
        title = f"N = {targets:,}: the same by packs, for several `max_targets_per_bin`"
        yield f"{title}\n\n" + table([("a bin", "roles", *lives), *packs], right=range(len(lives) + 2))
        for layout in LAYOUTS:
            folder = peer(scratch / "repository", layout, targets)
            largest = max(file.stat().st_size for file in (folder / "metadata").iterdir() if "snapshot" not in file.name)
            rows.append(row(str(layout), layout.bins + 1, largest, life(folder)))
            shutil.rmtree(folder)
        head = ("", "roles", "largest", "cold", "nothing changed", "other target changed", "own target changed", "RTT")
        title = f"N = {targets:,}: requests / bytes / bytes gzipped of one look for updates by python-tuf, and the time of its round trips"
        yield f"{title} of {ROUND_TRIP * 1000:.0f} ms\n\n" + table([head, *rows], right=range(1, len(head)))


def traffic(taken: Traffic | None) -> str:
    if taken is None:
        return f"> {LIMIT:.0f} s"
    return f"{taken.requests:,} / {byte_count(taken.body)} / {byte_count(taken.heads)}"


def row(what: str, roles: int, largest: int, checks: list[Check]) -> tuple[str, ...]:
    cells = (f"{check.requests} / {byte_count(check.raw)} / {byte_count(check.gzipped)}" for check in checks)
    waits = " / ".join(f"{check.requests * ROUND_TRIP:.1f}" for check in checks)
    return (what, f"{roles:,}", byte_count(largest), *cells, f"{waits} s")
