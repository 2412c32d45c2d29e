"""Sign fails for a while: what is published stays valid and fresh, and all that waited is published once it is mended."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .cloud import CloudForm
from .device import Device, sha256
from .polling import until

# Roles of a day's validity are due at once.
LONG_TIMESTAMP = {"expiry": {"timestamp": "4 days"}}


def waiting_uploads(folder: str) -> dict[str, bytes]:
    return {f"{folder}/waiting-{number}": f"{folder} {number}".encode() for number in range(10)}


def names_in(manifests: list[dict]) -> set[str]:
    return {change["name"] for manifest in manifests for change in manifest["changes"]}


def timestamp_of(device: Device) -> tuple[int, datetime]:
    """Version and expiry of the timestamp, once it is verified."""
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
    # Nothing is done here: its message comes again, or refresh nudges it within two minutes.
    cloud.wait_published({name: sha256(data) for name, data in waiting.items()}, seconds=180, device=device)
    until("empty", lambda: not any(cloud.dead_letters().values()), 120, 0.5)


@pytest.mark.slow
def test_sign_cannot_write_for_a_while(make_folder):
    # As short as the policy allows with a margin: the timestamp must be renewed while sign fails.
    folder = make_folder(config='[expiry]\ntimestamp = "12s"\n').start()
    folder.put("before", b"before")
    device = folder.device()
    folder.wait_published({"before": sha256(b"before")}, device=device)
    # The key files are read at the start only, and whoever runs this may be root: so what fails is the writing: the
    # places of the next documents can't be looked at, as on a damaged disk.
    damaged = damage(folder.data / "repository" / "metadata", folder.manifests()[-1]["serial"])
    waiting = waiting_uploads("later")
    for name, data in waiting.items():
        folder.put(name, data)
    until("failed", lambda: "sign failed" in folder.log.read_text())
    version, expires = timestamp_of(device)
    until("renewed", lambda: timestamp_of(device)[0] > version + 1, 40, 0.2)
    assert timestamp_of(device)[1] > expires
    assert device.find(["before", *waiting]) == {"before": sha256(b"before"), **dict.fromkeys(waiting)}
    # It tried less and less often: what can't work must not keep the machine busy.
    assert folder.log.read_text().count("sign failed and tries again") < 50
    for path in damaged:
        path.unlink()
    folder.wait_published({name: sha256(data) for name, data in waiting.items()}, seconds=90, device=device)


def damage(metadata: Path, serial: int) -> list[Path]:
    """Makes the next documents links to themselves: whatever is done with these fails."""
    damaged = [metadata / f"{number}.targets.json" for number in range(serial + 1, serial + 100)]
    for path in damaged:
        path.symlink_to(path.name)
    return damaged
