"""How devices get an update over a bad network: every client uses the same repository, and the same
seeded schedule of faults.

A device has one version of a target of 5 MB, and updates once to the next. It succeeds or fails;
nobody starts it again. Each client runs with its own default retries, since further retries would
be code of the caller.
"""

import json
import random
import shutil
import statistics
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from cloud_lib import Refusal
from e2e import tough_device
from e2e.device import Device, sha256
from e2e.device_program import DONE, PROGRAM, DeviceProgram
from e2e.foreign import ForeignRepository, digits
from e2e.network import Conditions, Network
from e2e.tuf_js import TufJsDevice

from .figures import table

NAME, LENGTH, BINS = "gateway/firmware.bin", 5_000_000, 16

# An update that takes longer is stopped, in seconds.
LIMIT = 1800

# The number of updates at once: most of them wait.
AT_ONCE = 24

# How many times as many updates tufline-device makes: its goal shows only in a thousand updates.
OWN_SHARE = 10

# On a network this slow (bytes a second) an update takes minutes, so there are fewer of them.
SLOW, SLOW_SHARE = 100e3, 10

CONDITIONS = {
    "nothing": Conditions(),
    "5 % of connections cut": Conditions(cut=0.05),
    "10 % cut": Conditions(cut=0.1),
    "20 % cut": Conditions(cut=0.2),
    "30 % cut": Conditions(cut=0.3),
    "each cut after 1 MB": Conditions(cut_at=1_000_000),
    "300 ms": Conditions(latency=0.3),
    "10 % of requests 503": Conditions(unavailable=0.1),
    "captive portal for 10 s": Conditions(portal=10),
    "the same, at the target": Conditions(portal=10, portal_from=6),
    "300 ms, 20 % cut, 10 % 503": Conditions(latency=0.3, cut=0.2, unavailable=0.1),
    "20 kB/s": Conditions(rate=20e3),
    "20 kB/s, 300 ms, 30 % cut, 10 % 503": Conditions(rate=20e3, latency=0.3, cut=0.3, unavailable=0.1),
}


class Client(ABC):
    """A client that keeps everything in its own folder."""

    name: str
    share = 1

    @abstractmethod
    def update(self, network: Network, root: Path, folder: Path) -> Path:
        """Updates, and returns the path of the target."""


class PythonTuf(Client):
    name = "python-tuf"

    def update(self, network: Network, root: Path, folder: Path) -> Path:
        return Device(network.endpoints(root), folder).download(NAME)


class TufJs(Client):
    name = "tuf-js"

    def update(self, network: Network, root: Path, folder: Path) -> Path:
        return TufJsDevice(network.endpoints(root), folder, limit=LIMIT).download(NAME)


class Tough(Client):
    name = "tough"

    def update(self, network: Network, root: Path, folder: Path) -> Path:
        out = folder / "firmware.bin"
        command = tough_device.command(folder, root, f"{network.url}metadata/", f"{network.url}targets/", NAME, out)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode != 0:
            raise Refusal(done.stderr)
        return out


class TuflineDevice(Client):
    name = "tufline-device"
    share = OWN_SHARE

    def update(self, network: Network, root: Path, folder: Path) -> Path:
        out = folder / "firmware.bin"
        device = DeviceProgram(folder, root, f"{network.url}metadata", f"{network.url}targets")
        done = device.run("fetch", NAME, "--out", out, timeout=LIMIT)
        if done.returncode != DONE:
            raise Refusal(done.stderr)
        return out


@dataclass(frozen=True)
class Run:
    """The result of one update."""

    conditions: str
    client: str
    seed: int
    succeeded: bool
    seconds: float
    # On the wire, in both directions.
    bytes: int
    requests: int
    # The client's error, if it failed.
    error: str


class Bench:
    """Clients with the first version, and a repository with the second."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.repository = ForeignRepository(scratch / "repository", bins=BINS)
        self.root = self.repository.metadata / "1.root.json"
        self.clients = [PythonTuf(), TufJs(), Tough(), TuflineDevice()]
        self.new = self._publish("old")
        with Network(self.repository.folder) as network:
            for client in self.clients:
                self._of(client).mkdir()
                client.update(network, self.root, self._of(client))
        self.new = self._publish("new")
        self._done = 0
        self._count = threading.Lock()

    def _of(self, client: Client) -> Path:
        return self.scratch / client.name

    def _publish(self, which: str) -> bytes:
        data = random.Random(which).randbytes(LENGTH)
        self.repository.publish({NAME: data})
        # tough asks for the target under another name, with the digest in front of the whole name.
        folder, _, last = NAME.rpartition("/")
        digest = sha256(data)
        second = self.repository.targets / f"{digest}.{NAME}"
        second.parent.mkdir()
        second.hardlink_to(self.repository.targets / folder / f"{digest}.{last}")
        return data

    def least(self) -> int:
        """The bytes that an update must read at least: three documents, a bin and the target."""
        versions, bin_ = self.repository.versions, digits(NAME)[0]
        meta = self.repository.signed(f"{versions['snapshot']}.snapshot.json")["meta"]
        roles = [f"bin-{bin_}", "targets"]
        files = ["timestamp.json", f"{versions['snapshot']}.snapshot.json"]
        files += [f"{meta[f'{role}.json']['version']}.{role}.json" for role in roles]
        return LENGTH + sum((self.repository.metadata / file).stat().st_size for file in files)

    def runs(self, samples: int) -> list[Run]:
        """Starts the slow updates first, so that the others run beside them."""
        wanted = []
        for how, conditions in sorted(CONDITIONS.items(), key=lambda item: item[1].rate):
            slow = conditions.rate < SLOW
            for client in self.clients:
                runs = max(samples // SLOW_SHARE, 1) if slow else samples * client.share
                wanted += [(how, client, seed) for seed in range(runs)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda run: self._run(*run, len(wanted)), wanted))

    def _run(self, how: str, client: Client, seed: int, of: int) -> Run:
        folder = self.scratch / f"{client.name} {how} {seed}".replace("/", "-")
        shutil.copytree(self._of(client), folder)
        error = ""
        with Network(self.repository.folder, CONDITIONS[how], f"{how} {seed}") as network:
            began = time.perf_counter()
            try:
                succeeded = client.update(network, self.root, folder).read_bytes() == self.new
            # Any exception with which a client fails.
            except Exception as failure:
                succeeded, error = False, f"{type(failure).__name__}: {failure}"
            seconds = time.perf_counter() - began
        shutil.rmtree(folder)
        with self._count:
            self._done += 1
            if self._done % 100 == 0:
                print(f"{self._done:,} of {of:,} updates …", flush=True)
        return Run(how, client.name, seed, succeeded, seconds, network.down + network.up, network.asked, error.strip()[-300:])


def tables(scratch: Path, samples: int, file: Path | None) -> Iterator[str]:
    """The results of this many updates with each client. The details go to `file`, if given."""
    if not PROGRAM.exists():
        raise Refusal(f"{PROGRAM} is missing: run `cargo build --release -p tufline-device`, or name another with TUFLINE_DEVICE_BIN")
    if not tough_device.PROGRAM.exists():
        raise Refusal(f"{tough_device.PROGRAM} is missing: run `cargo build --release -p tufline --example tough_device`")
    bench = Bench(scratch / "networks")
    least, runs = bench.least(), bench.runs(samples)
    if file is not None:
        file.write_text(json.dumps({"least": least, "runs": [asdict(run) for run in runs]}, indent=1))
    names = [client.name for client in bench.clients]
    rows = [(how, *(_cell([run for run in runs if (run.conditions, run.client) == (how, name)], least) for name in names)) for how in CONDITIONS]
    title = f"Updates to a target of {LENGTH / 1e6:.0f} MB over 10 MB/s, and what is wrong: successes / seconds / bytes on the wire over the least"
    yield f"{title} (medians of those that succeeded)\n\n" + table([("", *names), *rows])


def _cell(runs: list[Run], least: int) -> str:
    succeeded = [run for run in runs if run.succeeded]
    cell = f"{len(succeeded):,} of {len(runs):,}"
    if not succeeded:
        return cell
    seconds = statistics.median(run.seconds for run in succeeded)
    over = statistics.median(run.bytes for run in succeeded) / least - 1
    return f"{cell} / {seconds:.1f} s / {100 * over:+.1f} %"
