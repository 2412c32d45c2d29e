"""Sign fails for a while. What is published stays valid and fresh, and everything that waits is
published once sign works again."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .cloud import CloudForm
from .device import Device, sha256
from .polling import until

# With this, a timestamp that is valid for a day is due at once.
LONG_TIMESTAMP = {"expiry": {"timestamp": "4 days"}}


def waiting_uploads(folder: str) -> dict[str, bytes]:
    return {f"{folder}/waiting-{number}": f"{folder} {number}".encode() for number in range(10)}


def names_in(manifests: list[dict]) -> set[str]:
    return {change["name"] for manifest in manifests for change in manifest["changes"]}


def timestamp_of(device: Device) -> tuple[int, datetime]:
    """The version and expiry of the verified timestamp."""
    timestamp = device.update()._trusted_set.timestamp
    assert timestamp.expires > datetime.now(UTC)
    return timestamp.version, timestamp.expires


def test_sign_may_not_use_its_keys_for_a_while(cloud: CloudForm):
    folder = cloud.unique("outage")
    before, waiting = f"{folder}/before", waiting_uploads(folder)
    cloud.put(before, b"before")
    device = cloud.device()
    cloud.wait_published({before: sha256(b"before")}, device=device)
    with cloud.denied("sign", "kms:Sign"):
        started = time.time()
        newest = cloud.generation()
        for name, data in waiting.items():
            cloud.put(name, data)
        until("rebuilt", lambda: waiting.keys() <= names_in(cloud.manifests(newest)), 60)
        until("refused the keys", lambda: "AccessDenied" in cloud.log("sign", started), 60, 0.2)
        version, expires = timestamp_of(device)
        # The schedule runs refresh every minute; here the timestamp is due at once.
        with cloud.configured("refresh", LONG_TIMESTAMP):
            cloud.invoke("refresh")
        renewed, later = timestamp_of(device)
        assert renewed > version and later > expires
        assert device.find([before, *waiting]) == {before: sha256(b"before"), **dict.fromkeys(waiting)}
    # The test does nothing here: the message comes again, or refresh wakes sign within two minutes.
    cloud.wait_published({name: sha256(data) for name, data in waiting.items()}, seconds=180, device=device)
    until("empty", lambda: not any(cloud.dead_letters().values()), 120, 0.5)


@pytest.mark.slow
def test_sign_cannot_write_for_a_while(make_folder):
    # As short as the policy allows, with a margin: the timestamp must be renewed while sign fails.
    folder = make_folder(config='[expiry]\ntimestamp = "12s"\n').start()
    folder.put("before", b"before")
    device = folder.device()
    folder.wait_published({"before": sha256(b"before")}, device=device)
    # The process reads key files only at its start, and it may run as root. So the writing fails
    # here: the process can't look at the paths of the next documents, as on a damaged disk.
    damaged = damage(folder.data / "repository" / "metadata", folder.manifests()[-1]["serial"])
    waiting = waiting_uploads("later")
    for name, data in waiting.items():
        folder.put(name, data)
    until("failed", lambda: "sign failed" in folder.log.read_text())
    version, expires = timestamp_of(device)
    until("renewed", lambda: timestamp_of(device)[0] > version + 1, 40, 0.2)
    assert timestamp_of(device)[1] > expires
    assert device.find(["before", *waiting]) == {"before": sha256(b"before"), **dict.fromkeys(waiting)}
    # It retried less and less often: a persistent fault must not keep the machine busy.
    assert folder.log.read_text().count("sign failed and tries again") < 50
    for path in damaged:
        path.unlink()
    folder.wait_published({name: sha256(data) for name, data in waiting.items()}, seconds=90, device=device)


def damage(metadata: Path, serial: int) -> list[Path]:
    """Makes the next documents links to themselves, so that every access to them fails."""
    damaged = [metadata / f"{number}.targets.json" for number in range(serial + 1, serial + 100)]
    for path in damaged:
        path.symlink_to(path.name)
    return damaged
