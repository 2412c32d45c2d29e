"""Killed at any moment: no acknowledged upload is lost, and no device ever gets anything that it
can't verify."""

import os
import random
import signal
import threading
import time

import pytest

from .device import SteadyDevice, sha256
from .cloud import CloudForm
from .folder import FolderForm
from .polling import until

COUNT = 500


def artifacts(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{number}": f"{folder} {number}".encode() for number in range(COUNT)}


class Uploader(threading.Thread):
    """Uploads at a rate at which the burst lasts as long as there is something to kill."""

    def __init__(self, form, data: dict[str, bytes], seconds: float) -> None:
        super().__init__(daemon=True)
        self.form, self.data, self.pause = form, data, seconds / len(data)
        self.acknowledged: dict[str, str] = {}

    def run(self) -> None:
        for name, content in self.data.items():
            self.form.put(name, content)
            self.acknowledged[name] = sha256(content)
            time.sleep(self.pause)


@pytest.mark.slow
def test_the_embedded_form_killed_thirty_times(folder: FolderForm):
    chance, data = random.Random(30), artifacts("burst")
    uploader = Uploader(folder, data, seconds=6)
    with SteadyDevice(folder.device(), list(data)) as device:
        uploader.start()
        for _ in range(30):
            time.sleep(chance.uniform(0.0, 0.3))
            folder.kill()
            folder.start()
        uploader.join()
        folder.wait_published(uploader.acknowledged, seconds=90, device=folder.device())
    assert len(uploader.acknowledged) == COUNT
    for name in data:
        assert folder.told([name])[name], f"no event for {name}"
    print(f"folder: {device.updates} updates, {device.unreachable} times unreachable")


def pipeline_processes(cloud: CloudForm) -> dict[int, str]:
    """All function processes except those that answer devices: killing one would fail a device's
    request, and prove nothing about the content."""
    return {pid: stage for pid, stage in cloud.function_processes().items() if stage not in ("serve", "pack")}


@pytest.mark.emulator
def test_functions_killed_ten_times(cloud: CloudForm):
    chance, data = random.Random(10), artifacts(cloud.unique("killed"))
    uploader = Uploader(cloud, data, seconds=5)
    killed: list[str] = []
    with cloud.visibility(10), SteadyDevice(cloud.device(), list(data)) as device:
        uploader.start()
        while len(killed) < 10:
            time.sleep(chance.uniform(0.1, 0.6))
            running = until("running", lambda: pipeline_processes(cloud))
            pid = chance.choice(sorted(running))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(running[pid])
        uploader.join()
        cloud.wait_published(uploader.acknowledged, seconds=240)
    assert len(uploader.acknowledged) == COUNT

    def told() -> bool:
        missing = [name for name, events in cloud.told(data).items() if not events]
        assert not missing, f"{len(missing)} without an event"
        return True

    until("told", told, 120)
    until("empty", lambda: not any(cloud.dead_letters().values()), 150, 0.5)
    print(f"cloud: killed {sorted(killed)}; {device.updates} updates")
