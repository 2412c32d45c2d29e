"""tufline-device over networks that cut, delay and lie: it gets what was signed, and transfers
little more than that.

`tests/bench --only networks` measures how often and how fast, and compares other clients.
"""

import random
import subprocess
from pathlib import Path

import pytest

from .device_program import DONE, DeviceProgram
from .foreign import ForeignRepository
from .network import PORTAL, Conditions, Network
from .polling import until

NAME, LENGTH = "gateway/firmware.bin", 300_000
# The most bytes of a request and the head of its answer.
HEADS = 700
CONDITIONS = {
    "quiet": Conditions(),
    "a third of the connections cut": Conditions(cut=0.3, cut_within=LENGTH),
    "each connection cut": Conditions(cut_at=60_000),
    "far away": Conditions(latency=0.1),
    "slow": Conditions(rate=400e3),
    "a third of the requests refused": Conditions(unavailable=0.3),
    "behind a captive portal at first": Conditions(portal=0.4),
    # The next root, which is missing, three documents, a bin; and the target.
    "behind one when it asks for the target": Conditions(portal=0.4, portal_from=6),
    "behind one when it goes on with the target": Conditions(cut_at=60_000, portal=0.4, portal_from=8),
    "all of it": Conditions(cut=0.3, cut_within=LENGTH, latency=0.02, rate=1e6, unavailable=0.3, portal=0.5),
}


@pytest.mark.parametrize("how", CONDITIONS)
def test_an_update_goes_through_and_costs_little(how: str, tmp_path: Path):
    repository = ForeignRepository(tmp_path / "repository", bins=16)
    noise = random.Random(how)
    old, new = noise.randbytes(LENGTH), noise.randbytes(LENGTH)
    repository.publish({NAME: old})
    root, out = repository.metadata / "1.root.json", tmp_path / "firmware.bin"
    with Network(repository.folder) as quiet:
        DeviceProgram(tmp_path, root, f"{quiet.url}metadata").fetch(NAME, out)
    assert out.read_bytes() == old
    repository.publish({NAME: new})
    for seed in range(2):
        with Network(repository.folder, CONDITIONS[how], seed) as network:
            DeviceProgram(tmp_path, root, f"{network.url}metadata").fetch(NAME, out)
            assert out.read_bytes() == new, "another file"
            # A document that was cut comes once more, and so does an answer in the server's place.
            documents = [request.path for request in network.requests if request.path.startswith("/metadata/")]
            others = sum((repository.folder / path.lstrip("/")).stat().st_size for path in documents)
            others += network.asked * HEADS + (network.asked - len(network.requests)) * len(PORTAL)
            assert network.down + network.up <= 1.05 * LENGTH + others, network.requests
        # The run with the other seed begins where this one began.
        out.write_bytes(old)


@pytest.fixture
def repository(tmp_path: Path) -> ForeignRepository:
    return ForeignRepository(tmp_path / "repository")


def device_over(network: Network, repository: ForeignRepository, folder: Path, settings: str = "") -> DeviceProgram:
    return DeviceProgram(folder, repository.metadata / "1.root.json", f"{network.url}metadata", settings=settings)


@pytest.mark.parametrize("seed", range(2))
def test_a_page_that_is_longer_than_the_target(seed: int, repository: ForeignRepository, tmp_path: Path):
    """Some portals send the page's length, others end the connection."""
    repository.publish({"small.bin": b"small"})
    # The next root, which is missing, three documents; and the target.
    with Network(repository.folder, Conditions(portal=0.4, portal_from=5), seed) as network:
        device_over(network, repository, tmp_path).fetch("small.bin", tmp_path / "small.bin")
        assert network.asked > len(network.requests) + 1, "no page was answered"
    assert (tmp_path / "small.bin").read_bytes() == b"small"


def test_a_server_without_ranges_is_not_asked_forever(repository: ForeignRepository, tmp_path: Path):
    """Receiving the same bytes again is no progress."""
    repository.publish({NAME: random.Random(1).randbytes(LENGTH)})
    with Network(repository.folder, Conditions(cut_at=200_000, ranges=False)) as network:
        told = device_over(network, repository, tmp_path, "tries = 3\ndeadline = 15").failure("fetch", NAME, "--out", tmp_path / "out")
        assert told["kind"] == "network"
        assert network.down < 5 * 200_000


def test_the_deadline_counts_while_bytes_come(repository: ForeignRepository, tmp_path: Path):
    """And the device keeps what it received."""
    data = random.Random(2).randbytes(LENGTH)
    repository.publish({NAME: data})
    with Network(repository.folder, Conditions(rate=30e3)) as network:
        told = device_over(network, repository, tmp_path, "deadline = 3").failure("fetch", NAME, "--out", tmp_path / "out")
        assert told["kind"] == "network"
    with Network(repository.folder) as network:
        fetched = device_over(network, repository, tmp_path).fetch(NAME, tmp_path / "out")
        assert 0 < fetched["received"] < LENGTH
    assert (tmp_path / "out").read_bytes() == data


def test_two_devices_in_one_place(repository: ForeignRepository, tmp_path: Path):
    """Each has its own metadata, and both write the target to one place. The file there is what was
    signed, whichever device wrote it."""
    data, out = random.Random(3).randbytes(LENGTH), tmp_path / "out"
    repository.publish({NAME: data})
    with Network(repository.folder, Conditions(rate=200e3)) as network, Network(repository.folder, Conditions(rate=100e3)) as slower:
        devices = [device_over(way, repository, tmp_path / name) for way, name in ((network, "one"), (slower, "other"))]
        started = []
        for device in devices:
            started.append(subprocess.Popen(device.command("fetch", NAME, "--out", out), stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            # The second begins in the middle of the first.
            until("on its way", lambda: sum(part.stat().st_size for part in tmp_path.glob(".*.part")) > LENGTH / 3)
        for process in started:
            _, errors = process.communicate()
            assert process.returncode == DONE, errors
            assert out.read_bytes() == data, "another file is in the place"
