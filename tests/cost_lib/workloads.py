"""What the deployment is given to do, each in a window of its own."""

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
    """With the SHA-256 of the whole, as `tufline upload` does, or with what the SDK sends by itself, which is a CRC."""
    form = deployment.form
    extra = {"ChecksumAlgorithm": "SHA256"} if checksum else {}
    form.s3.put_object(Bucket=form.bucket, Key=form.key(name), Body=data, **extra)


def burst(deployment: Deployment, count: int, checksum: bool) -> Usage:
    """Many small artifacts at once."""
    prefix = deployment.form.unique("burst")
    # No bytes that were there before: their copy would be spared.
    content = {name: name.encode() for name in (f"{prefix}/{number}" for number in range(count))}
    with deployment.window() as usage, ThreadPoolExecutor(UPLOADERS) as uploaders:
        list(uploaders.map(lambda name: upload(deployment, name, content[name], checksum), content))
    _check(deployment, content)
    return usage


def one_by_one(deployment: Deployment, count: int) -> Usage:
    """Each waits until the one before is published and told, so each makes its own generation."""
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
    """What was counted led to what it should."""
    deployment.form.wait_published({name: sha256(data) for name, data in content.items()})


def checks(deployment: Deployment, count: int) -> Usage:
    """A device that has all metadata asks whether there is anything new, and there is not."""
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
    """Nothing happens, but that refresh runs each minute."""
    with deployment.window() as usage:
        time.sleep(60 * minutes)
    busy = {stage: times for stage, times in usage.invocations.items() if stage != "refresh" and times}
    if busy or not usage.invocations["refresh"]:
        raise Refusal(f"the deployment was not idle: {dict(usage.invocations)}")
    return usage
