"""Images by difference: `tufline-device fetch --seed` over networks that cut, with a program that
is killed, and from a disk that loses power.

The chunks come from a repository in a folder, through a static copy of it, so the tests cover the
whole chain.
"""

import os
import random
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from .device import sha256
from .device_program import DONE, DeviceProgram
from .device_run import RunningDevice
from .folder import FolderForm
from .network import Conditions, Network
from .polling import until

LONG = os.environ.get("TUFLINE_LONG") == "1"
NAME = "gateway/rootfs.img"
noise = random.Random(18)


def image(length: int) -> bytes:
    """An image that compresses to half of its length, as images do."""
    return b"".join(noise.randbytes(512) + bytes(512) for _ in range(length // 1024))


def next_image(old: bytes, changes: int) -> bytes:
    """The next image: some places differ, and what follows one of them has moved."""
    new = bytearray(old)
    for change in range(changes):
        at = len(old) * (2 * change + 1) // (2 * changes)
        new[at : at + 20_000] = image(20_480) if change % 2 else image(30_720)
    return bytes(new)


class Images:
    """A static copy of a repository with the newer of two images, and its chunks."""

    def __init__(self, scratch: Path, length: int, changes: int) -> None:
        self.scratch, self.old = scratch, image(length)
        self.new = next_image(self.old, changes)
        self.seed = scratch / "old.img"
        self.seed.write_bytes(self.old)
        self.folder = scratch / "mirror"
        form = FolderForm(scratch / "repository", config="chunks = true\n").start()
        try:
            form.put(NAME, self.new)
            form.wait_published({NAME: sha256(self.new)})
            self.root = shutil.copy(form.endpoints["trusted_root"], scratch / "root.json")
            until("chunks", lambda: self.copied(form), 60, 0.2)
        finally:
            form.close()

    def copied(self, form: FolderForm) -> bool:
        done = form.tufline("mirror", self.folder, "--chunks", "--json")
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return any((self.folder / "chunks").rglob("*rootfs.img"))

    def device(self, network: Network, folder: Path, settings: str = "") -> DeviceProgram:
        return DeviceProgram(folder, self.root, f"{network.url}metadata", settings=settings)

    def command(self, device: DeviceProgram, out: Path) -> list[str]:
        return device.command("fetch", NAME, "--seed", self.seed, "--out", out)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    scratch = tmp_path_factory.mktemp("images")
    return Images(scratch, *((60_000_000, 120) if LONG else (6_000_000, 12)))


def asked_for(network: Network, what: str) -> int:
    return sum(request.path.startswith(f"/{what}/") for request in network.requests)


@dataclass
class Cost:
    """The bytes on the wire without faults, for an update check and for the difference, including
    the heads of the answers."""

    check: int
    difference: int


@pytest.fixture(scope="module")
def cost(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Cost:
    folder = tmp_path_factory.mktemp("difference")
    with Network(images.folder, Conditions(rate=100e6)) as network:
        device = images.device(network, folder)
        device.answer("check", NAME)
        first, network.down = network.down, 0
        fetched = device.answer("fetch", NAME, "--seed", images.seed, "--out", folder / "new.img")["fetched"][0]
        assert (folder / "new.img").read_bytes() == images.new
        assert asked_for(network, "targets") == 0 and "whole_because" not in fetched, fetched
        difference, network.down = network.down, 0
        device.answer("check", NAME)
        again = network.down
    difference -= again
    assert again <= first and fetched["received"] <= difference < len(images.new) / 5, (fetched, difference)
    assert fetched["copied"] > len(images.new) * 0.8, fetched
    return Cost(first, difference)


def test_kills_and_cuts_cost_a_tenth_at_most(images: Images, cost: Cost, tmp_path: Path):
    """One download, over a network that cuts, by a program that is killed again and again."""
    chance, wanted = random.Random(7), 500 if LONG else 30
    device, out = tmp_path / "device", tmp_path / "new.img"
    kills = cuts = runs = came = 0
    while not out.exists():
        runs += 1
        assert runs < 20 * wanted, (runs, kills)
        with Network(images.folder, Conditions(rate=50e3, cut=0.2, cut_within=100_000), runs) as network:
            command = images.command(images.device(network, device, "tries = 2"), out)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # At a random byte of the check, or of the difference. The kills that are left are spread
            # over what is left of it.
            left = max(0, cost.difference - (came - (runs - 1) * cost.check)) / max(1, wanted - kills)
            most = chance.uniform(0, cost.check) if chance.random() < 0.1 else cost.check + chance.uniform(0, 2 * left)
            while process.poll() is None:
                if network.down > most and kills < wanted:
                    # Not always right after bytes have come, before the program has read them.
                    time.sleep(chance.uniform(0, 0.1))
                    process.kill()
                time.sleep(0.0005)
            kills += process.returncode == -9
            cuts += process.returncode not in (DONE, -9)
            came += network.down
            assert asked_for(network, "targets") == 0, "it never falls back to the whole"
    assert out.read_bytes() == images.new
    # The last kill may have come between the target's rename and the end.
    with Network(images.folder) as network:
        done = subprocess.run(images.command(images.device(network, device), out), capture_output=True)
        assert done.returncode == DONE and asked_for(network, "chunks") == 0, done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "nothing is left beside it"
    print(f"{kills} kills, {cuts} runs that ended by a cut, {runs} runs: {came} bytes came, {cost} at once")
    assert kills >= wanted / 2, (kills, cuts)
    assert came <= 1.1 * cost.difference + runs * cost.check, f"{came} bytes in {runs} runs, {cost} at once"


def test_a_device_that_runs_takes_what_it_runs_as_its_seed(images: Images, tmp_path: Path):
    system = tmp_path / "device" / "system" / "system"
    with Network(images.folder, Conditions(rate=100e6)) as network:
        device = RunningDevice(tmp_path / "device", images.root, f"{network.url}metadata", run=f"seed = '{system}'", name=NAME)
        system.write_bytes(images.old)
        assert device.once() == DONE
        assert asked_for(network, "targets") == 0
    assert system.read_bytes() == images.new
    assert " are the seed's" in device.errors.read_text()
