"""A fleet of `tufline-device run` on both forms, through three releases and all kinds of faults:
each device installs each release once.

    TUFLINE_FLEET=200 .venv/bin/pytest tests/e2e/test_fleet.py

The log of each device's install command is the judge.
"""

import contextlib
import os
import random
import signal
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from .device import sha256
from .device_run import RunningDevice
from .form import Form
from .network import Conditions, Network
from .polling import until

SIZE = int(os.environ.get("TUFLINE_FLEET", "12"))
RELEASES = 3
LENGTH = 300_000
# A busy machine answers at most this many checks a second.
CHECKS = {"folder": 20, "cloud": 5}


class Fleet:
    """The devices. During the `with` block, one is killed and restarted now and then."""

    def __init__(self, folder: Path, form: Form, way: Network, name: str) -> None:
        every = max(1, SIZE // CHECKS[form.kind])
        run = f"every = {every}\njitter = {every}\ninstall-tries = 10"
        metadata, targets, pack = (
            urllib.parse.urljoin(way.url, urllib.parse.urlsplit(form.endpoints[url]).path)
            for url in ("metadata_url", "targets_url", "pack_url")
        )
        settings = f"pack-url = '{pack}'\ntries = 3"
        root = Path(form.endpoints["trusted_root"])
        self.devices = [
            RunningDevice(folder / f"device-{number}", root, metadata, targets, run, settings, confirms=True, name=name)
            for number in range(SIZE)
        ]
        for device in self.devices:
            (device.system / "takes").write_text("0.2")
        self.chance = random.Random(7)
        self.kills = 0
        self.over = threading.Event()
        self.killer = threading.Thread(target=self.kill)

    def kill(self) -> None:
        while not self.over.wait(max(0.1, 2 / SIZE)):
            device = self.chance.choice(self.devices)
            device.kill()
            device.start()
            self.kills += 1

    def __enter__(self) -> "Fleet":
        for device in self.devices:
            device.start()
        self.killer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.killer.join()
        for device in self.devices:
            device.process.terminate()
        ended = {device.process.wait(60) for device in self.devices}
        # A device that has just started has nothing to put in order yet.
        assert ended <= {0, -signal.SIGTERM}, ended

    def have(self, digest: str) -> bool:
        late = [device.folder.name for device in self.devices if digest not in device.done()]
        assert not late, f"{len(late)} of {SIZE} don't have it, such as {late[0]}"
        return True


@contextlib.contextmanager
def outage(form: Form) -> Iterator[None]:
    """During the block nobody answers devices: the embedded form is killed; on AWS serve and pack
    may read nothing."""
    if form.kind == "folder":
        form.kill()
        yield
        form.start()
    else:
        with form.denied("serve", "s3:*"), form.denied("pack", "s3:*"):
            yield


@pytest.mark.emulator  # The way to it has no TLS.
def test_each_device_installs_each_release_once(form: Form, tmp_path: Path):
    chance = random.Random(3)
    bad = Conditions(cut=0.2, cut_within=2 * LENGTH)
    releases = [chance.randbytes(LENGTH) for _ in range(RELEASES)]
    name = f"{form.unique('fleet')}/firmware.bin"
    server = urllib.parse.urlsplit(form.endpoints["metadata_url"])
    with (
        Network(tmp_path, bad, upstream=(server.hostname, server.port)) as way,
        Fleet(tmp_path / "fleet", form, way, name) as fleet,
    ):
        for number, release in enumerate(releases):
            # Every third command fails the first time.
            for device in fleet.devices[number::3]:
                (device.system / "fails").write_text("x\n")
            form.put(name, release)
            for _ in range(3):
                time.sleep(chance.uniform(0.2, 1.0))
                with outage(form):
                    time.sleep(chance.uniform(0.0, 0.5))
            until(f"release {number + 1}", lambda release=release: fleet.have(sha256(release)), 60 + 5 * SIZE, 0.2)
    wanted = [sha256(release) for release in releases]
    for device in fleet.devices:
        assert device.done() == wanted, (device.folder, device.log())
        assert (device.system / "system").read_bytes() == releases[-1]
    starts = sum(len(device.begun()) for device in fleet.devices)
    assert fleet.kills > SIZE and starts > RELEASES * SIZE, "too little happened"
    print(f"{SIZE} devices, {RELEASES} releases, {fleet.kills} kills, {starts} starts of an install command")
