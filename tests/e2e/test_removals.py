"""A removal counts if it is intended: an emptied or unmounted folder removes nothing."""

import shutil
import signal
import time

import pytest

from .device import sha256
from .folder import FolderForm
from .form import DONE
from .polling import throughout, until


def fill(folder: FolderForm, count: int) -> dict[str, str]:
    """Publishes `count` targets, and returns what devices see."""
    expected = {f"{number}.bin": sha256(b"%d" % number) for number in range(count)}
    for number in range(count):
        folder.put(f"{number}.bin", b"%d" % number)
    folder.wait_published(expected)
    return expected


def held(folder: FolderForm) -> list[dict]:
    return [event["detail"] for event in folder.events() if event["detail-type"] == "Removals Held"]


@pytest.mark.parametrize("count", [2, 5, 30])
def test_an_emptied_folder_removes_nothing_until_that_is_accepted(folder: FolderForm, count: int):
    expected = fill(folder, count)
    # As `rm -rf uploads/*` does. That is instantaneous, which this process can't promise, so the
    # repository is suspended meanwhile.
    folder.process.send_signal(signal.SIGSTOP)
    for name in expected:
        folder.remove(name)
    folder.process.send_signal(signal.SIGCONT)
    until("held", lambda: held(folder))
    device = folder.device()
    throughout("published", lambda: device.find(expected) == expected, 2)
    (event,) = held(folder)[:1]
    assert event["removals"] == event["targets"] == count and "accept-removals" in event["reason"]
    folder.stop()
    folder.start()
    throughout("published after a restart", lambda: device.find(expected) == expected, 2)
    accepted = folder.tufline("accept-removals")
    assert accepted.returncode == DONE, accepted.stderr
    folder.wait_published(dict.fromkeys(expected))


def test_fewer_than_half_may_be_removed_without_consent(folder: FolderForm):
    expected = fill(folder, 50)
    gone = [f"{number}.bin" for number in range(15)]
    for name in gone:
        folder.remove(name)
    folder.wait_published({**expected, **dict.fromkeys(gone)})
    assert not held(folder)


def test_removals_of_more_than_half_are_held(folder: FolderForm):
    expected = fill(folder, 50)
    for number in range(40):
        folder.remove(f"{number}.bin")
    until("held", lambda: held(folder))
    device = folder.device()
    # The removals in the first batches may have been few enough.
    published = sum(found is not None for found in device.find(expected).values())
    assert published >= 25
    throughout("published", lambda: sum(f is not None for f in device.find(expected).values()) == published, 2)


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 60, 150, 240])
def test_a_file_removed_right_after_a_start_is_noticed(folder: FolderForm, milliseconds: int):
    expected = fill(folder, 3)
    folder.kill()
    folder.start()
    time.sleep(milliseconds / 1000)
    folder.remove("1.bin")
    folder.wait_published({**expected, "1.bin": None}, seconds=15)


@pytest.mark.slow
def test_an_unmounted_folder_removes_nothing(folder: FolderForm):
    expected = fill(folder, 5)
    away = folder.scratch / "away"
    folder.uploads.rename(away)
    until("noticed", lambda: "is not mounted" in folder.log.read_text(), 15)
    device = folder.device()
    throughout("published", lambda: device.find(expected) == expected, 4)
    # An empty folder in its place is what stays when a disk is gone.
    folder.uploads.mkdir()
    throughout("published", lambda: device.find(expected) == expected, 4)
    # If it starts now, it answers devices, and says what is wrong.
    folder.stop()
    folder.start()
    throughout("published", lambda: folder.device().find(expected) == expected, 2)
    folder.uploads.rmdir()
    away.rename(folder.uploads)
    folder.put("6.bin", b"6")
    folder.wait_published({**expected, "6.bin": sha256(b"6")})


def test_a_folder_that_comes_back_while_it_runs_is_watched_again(folder: FolderForm):
    expected = fill(folder, 3)
    away = folder.scratch / "away"
    folder.uploads.rename(away)
    until("noticed", lambda: "is not mounted" in folder.log.read_text(), 15)
    shutil.copy2(away / "0.bin", away / "copy.bin")
    (away / "1.bin").unlink()
    away.rename(folder.uploads)
    folder.wait_published({**expected, "copy.bin": expected["0.bin"], "1.bin": None})
