"""Devices of all kinds that update continuously, during work that they must not notice."""

import random
import shutil
import tempfile
import threading
import time
from pathlib import Path

from .device import Device, SteadyDevice, sha256
from .form import DONE, Form
from .polling import until

STEADY = "steady"


class Forgetful(Device):
    """A device that is new at each update: it knows only the first root."""

    def update(self):
        shutil.rmtree(self.metadata)
        self.metadata.mkdir()
        return super().update()


class Sleeper(Device):
    """Many devices that update one after another: each was offline for a long time."""

    def __init__(self, endpoints: dict, folder: Path, count: int = 40) -> None:
        super().__init__(endpoints, folder)
        self.folders = [folder / f"metadata-{number}" for number in range(count)]
        for made in self.folders:
            made.mkdir()
        self.chance = random.Random(2)

    def update(self):
        self.metadata = self.chance.choice(self.folders)
        return super().update()


class ForwardOnly(SteadyDevice):
    """A steady device without the check that its timestamps go up, since it plays several
    devices."""

    def __exit__(self, kind, error, trace) -> None:
        self.versions.clear()
        super().__exit__(kind, error, trace)


class Fleet:
    """Uploads every 100 ms, or every `pause` seconds, with devices of python-tuf and tough: steady
    ones, new ones, and some that were offline for long.

    The `with` block raises an error if a single verification failed, or if the uploads didn't get
    through.
    """

    def __init__(self, form: Form, pause: float = 0.1) -> None:
        self.form = form
        self.pause = pause
        self.over = threading.Event()
        self.failures: list[str] = []
        self.uploads = self.tough_updates = 0
        form.put(STEADY, b"steady")
        form.wait_published({STEADY: sha256(b"steady")})
        folder = lambda: Path(tempfile.mkdtemp(prefix="fleet-", dir=form.scratch))
        self.offline = form.device()
        self.offline.update()
        self.devices = [
            SteadyDevice(form.device(), [STEADY]),
            ForwardOnly(Forgetful(form.endpoints, folder()), [STEADY]),
            ForwardOnly(Sleeper(form.endpoints, folder()), [STEADY]),
        ]
        self.threads = [threading.Thread(target=self.upload), threading.Thread(target=self.update_tough)]

    def upload(self) -> None:
        while not self.over.wait(self.pause):
            self.uploads += 1
            self.form.put(f"load/{self.uploads % 50}", str(self.uploads).encode())

    def update_tough(self) -> None:
        while not self.over.wait(0.2):
            # One check, without a retry: the client in it knows only the first root.
            done = self.form.tufline("wait", STEADY, "--sha256", sha256(b"steady"), "--timeout", 0)
            self.tough_updates += 1
            if done.returncode != DONE:
                self.failures.append(f"tough: {done.stdout} {done.stderr}")

    def __enter__(self) -> "Fleet":
        for device in self.devices:
            device.__enter__()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            # On a busy machine a client takes its time to start.
            until("many looks with tough", lambda: self.tough_updates > 5, 120)
        self.over.set()
        for thread in self.threads:
            thread.join()
        for device in self.devices:
            device.__exit__(kind, error, trace)
        if error is None:
            assert not self.failures, f"{len(self.failures)} failures, first {self.failures[0]}"
            last = {f"load/{number % 50}": sha256(str(number).encode()) for number in range(1, self.uploads + 1)}
            self.form.wait_published(last)
            # This device was offline all the time.
            assert self.offline.find(last) == last
            self.form.wait_tough(STEADY, sha256(b"steady"))

    def goes_on(self) -> None:
        """Makes an upload and waits until it is published."""
        name, data = "load/now", str(time.monotonic()).encode()
        self.form.put(name, data)
        self.form.wait_published({name: sha256(data)})
