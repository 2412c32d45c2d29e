"""The workloads of the deployment, each in its own window."""

import time
from concurrent.futures import ThreadPoolExecutor

from cloud_lib import Refusal
from e2e.device import sha256
from e2e.polling import until

from .deployment import Deployment, Usage

UPLOADERS = 16

# A small target, which the function serve sends itself.
TARGET = b"artifact " * 100


def upload(deployment: Deployment, name: str, data: bytes, checksum: bool) -> None:
    """Uploads with the SHA-256 of the whole file, as `tufline upload` does, or with the SDK's
    default, which is a CRC."""
    form = deployment.form
    extra = {"ChecksumAlgorithm": "SHA256"} if checksum else {}
    form.s3.put_object(Bucket=form.bucket, Key=form.key(name), Body=data, **extra)


def burst(deployment: Deployment, count: int, checksum: bool) -> Usage:
    """Uploads many small artifacts at once."""
    prefix = deployment.form.unique("burst")
    # New bytes each time: bytes that exist already would need no copy.
    content = {name: name.encode() for name in (f"{prefix}/{number}" for number in range(count))}
    with deployment.window() as usage, ThreadPoolExecutor(UPLOADERS) as uploaders:
        list(uploaders.map(lambda name: upload(deployment, name, content[name], checksum), content))
    _check(deployment, content)
    return usage


def one_by_one(deployment: Deployment, count: int) -> Usage:
    """Uploads artifacts one by one. Each waits until the one before is published and announced, so
    each makes its own generation."""
    form, prefix = deployment.form, deployment.form.unique("single")
    content = {name: name.encode() for name in (f"{prefix}/{number}" for number in range(count))}

    def announced() -> str:
        return form.admin_s3.head_object(Bucket=form.endpoints["ledger_bucket"], Key="announced.json")["VersionId"]

    def moved(last: str) -> bool:
        assert announced() != last, "nothing was announced since"
        return True

    with deployment.window() as usage:
        for name, data in content.items():
            last = announced()
            upload(deployment, name, data, checksum=True)
            until("announced", lambda last=last: moved(last), 60, 0.02)
    _check(deployment, content)
    return usage


def _check(deployment: Deployment, content: dict[str, bytes]) -> None:
    """Checks that the counted work had the right result."""
    deployment.form.wait_published({name: sha256(data) for name, data in content.items()})


def checks(deployment: Deployment, count: int) -> Usage:
    """A device that has all metadata checks for updates and finds none."""
    device = deployment.device()
    device.update()
    with deployment.window() as usage:
        for _ in range(count):
            device.update()
    return usage


def first_updates(deployment: Deployment, count: int) -> Usage:
    """New devices, each of which downloads one small target."""
    name = f"{deployment.form.unique('first')}.bin"
    upload(deployment, name, TARGET, checksum=True)
    deployment.form.wait_published({name: sha256(TARGET)})
    devices = [deployment.device() for _ in range(count)]
    with deployment.window() as usage:
        for device in devices:
            if device.download_bytes(name) != TARGET:
                raise Refusal(f"a device got other bytes of {name}")
    return usage


def idle(deployment: Deployment, minutes: int) -> Usage:
    """Nothing happens except refresh's run each minute."""
    with deployment.window() as usage:
        time.sleep(60 * minutes)
    busy = {stage: times for stage, times in usage.invocations.items() if stage != "refresh" and times}
    if busy or not usage.invocations["refresh"]:
        raise Refusal(f"the deployment was not idle: {dict(usage.invocations)}")
    return usage
