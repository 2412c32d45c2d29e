"""`tufline-device run`: each version is installed once, when it may be, whatever interrupts it; and
its supervisor can see its state."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from . import polling, power_disk
from .device import sha256
from .device_program import NOWHERE
from .device_run import DONE, FAILED, MISUSED, NAME, NOT_INSTALLED, WAITS, RunningDevice
from .folder import FolderForm
from .foreign import ForeignRepository
from .network import Conditions, Network

A, B, C = (letter * 5000 for letter in (b"a", b"b", b"c"))
# All is put on disk, which takes its time on a machine with other work: what is needed, not what is
# usual.
until = partial(polling.until, seconds=90)
# Checks as often as possible.
AT_ONCE = "every = 1\njitter = 0"


class Place:
    """A repository, and the network path to it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.repository = ForeignRepository(scratch / "repository")
        self.devices: list[RunningDevice] = []

    def publish(self, data: bytes) -> None:
        self.repository.publish({NAME: data})

    def device(self, network: Network, run: str = "", **options) -> RunningDevice:
        folder = self.scratch / f"device-{len(self.devices)}"
        root = self.repository.metadata / "1.root.json"
        self.devices.append(RunningDevice(folder, root, f"{network.url}metadata", run=run, **options))
        return self.devices[-1]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for device in place.devices:
        device.close()


@pytest.fixture
def network(place: Place) -> Iterator[Network]:
    with Network(place.repository.folder) as network:
        yield network


def closed() -> str:
    """A window that stays closed for hours, by this machine's clock."""
    opens = datetime.now() + timedelta(hours=6)
    return f"window = '{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}'"


def open_now() -> str:
    return f"window = '{datetime.now() - timedelta(hours=2):%H:%M}-{datetime.now() + timedelta(hours=2):%H:%M}'"


def test_each_version_is_installed_once(place: Place, network: Network):
    device = place.device(network)
    place.publish(A)
    assert device.once() == DONE
    assert device.once() == DONE
    place.publish(B)
    assert device.once() == DONE
    place.publish(B)  # The metadata is new, its bytes are not.
    assert device.once() == DONE
    assert device.begun() == [(sha256(A), 1), (sha256(B), 1)] and (device.system / "system").read_bytes() == B
    assert device.waiting_files() == [], "what is installed isn't kept twice"
    place.publish(A)
    assert device.once() == DONE
    assert device.done() == [sha256(A), sha256(B), sha256(A)], "going back is a new wish"
    status = device.status()
    assert status["state"] == "idle" and status["failure"] is None
    assert status["installed"] == status["listed"] == sha256(A)
    assert status["metadata"] == {"root": 1, "timestamp": 4, "snapshot": 4, "targets": 4}
    assert all(line.isprintable() for line in device.events())


def test_nothing_new_is_one_request(folder: FolderForm, tmp_path: Path):
    """The device can ask for packs, and for nothing by name except targets."""
    folder.put(NAME, A)
    folder.wait_published({NAME: sha256(A)})
    points = folder.endpoints
    root, pack = Path(points["trusted_root"]), f"pack-url = '{points['pack_url']}'\ntries = 1"
    device = RunningDevice(tmp_path / "device", root, NOWHERE, points["targets_url"], settings=pack)
    assert device.once() == DONE
    device.config.write_text(device.config.read_text().replace(points["targets_url"], NOWHERE))
    before = device.journal()
    assert device.once() == DONE and device.done() == [sha256(A)]
    assert device.journal() == before and "asked for" not in "".join(device.events())


def test_what_the_factory_installed_is_not_installed(place: Place, network: Network, tmp_path: Path):
    place.publish(A)
    (tmp_path / "image").write_bytes(A)
    for known in (f"installed-digest = '{sha256(A).upper()}'", f"installed-file = '{tmp_path / 'image'}'"):
        device = place.device(network, known)
        place.publish(A)
        assert device.once() == DONE and device.log() == []
        place.publish(B)
        assert device.once() == DONE and device.done() == [sha256(B)]


def test_what_fails_is_tried_so_often_and_no_more(place: Place, network: Network):
    device = place.device(network, "install-tries = 2")
    (device.system / "fails").write_text("x\nx\n")
    place.publish(A)
    for _ in range(4):
        assert device.once() == NOT_INSTALLED
    assert device.begun() == [(sha256(A), 1), (sha256(A), 2)]
    status = device.status()
    assert (status["state"], status["attempts"], status["installed"]) == ("given-up", 2, None)
    assert status["failure"]["kind"] == "install" and "ended with 7" in status["failure"]["message"]
    assert device.waiting_files() == []
    place.publish(B)
    assert device.once() == DONE and device.done() == [sha256(B)]
    place.publish(A)
    assert device.once() == DONE, "it was withdrawn, and is wished anew"


def test_a_command_that_asks_for_later_is_started_later(place: Place, network: Network):
    device = place.device(network, "install-tries = 1")
    (device.system / "later").touch()
    place.publish(A)
    assert device.once() == WAITS and device.once() == WAITS
    assert device.status()["state"] == "waiting"
    (device.system / "later").unlink()
    assert device.once() == DONE and device.begun() == [(sha256(A), 1)] * 3


def test_a_command_that_takes_too_long_is_ended(place: Place, network: Network):
    device = place.device(network, "install-timeout = 1\ninstall-tries = 1")
    (device.system / "holds").touch()
    place.publish(A)
    assert device.once() == NOT_INSTALLED
    assert "took too long" in device.status()["failure"]["message"] and device.done() == []


def test_a_command_that_is_not_there_is_told(place: Place, network: Network):
    device = place.device(network, "install-tries = 1")
    (device.system / "install").unlink()
    place.publish(A)
    assert device.once() == NOT_INSTALLED
    assert "can't be started: No such file" in device.status()["failure"]["message"]


def test_the_window(place: Place, network: Network):
    """The device downloads before its window, and in the window installs what is listed then."""
    device = place.device(network, closed())
    place.publish(A)
    assert device.once() == WAITS and device.once() == WAITS
    assert device.log() == [] and [file.read_bytes() for file in device.waiting_files()] == [A]
    place.publish(B)
    assert device.once() == WAITS
    assert [file.read_bytes() for file in device.waiting_files()] == [B], "what isn't wished any more takes no room"
    network.requests.clear()
    device.config.write_text(device.config.read_text().replace(closed(), open_now()))
    assert device.once() == DONE and device.done() == [sha256(B)]
    assert not [request for request in network.requests if request.path.startswith("/targets/")], "it was there"
    waits = place.device(network, f"{closed()}\ndownload-in-window = true")
    assert waits.once() == WAITS and waits.waiting_files() == []


def test_what_lies_there_is_verified_before_it_is_installed(place: Place, network: Network):
    device = place.device(network, closed())
    place.publish(A)
    assert device.once() == WAITS
    [file] = device.waiting_files()
    assert file.stat().st_mode & 0o777 == 0o444
    file.chmod(0o644)
    file.write_bytes(B)
    device.config.write_text(device.config.read_text().replace(closed(), open_now()))
    assert device.once() == DONE and device.done() == [sha256(A)]


def test_what_the_command_is_told(place: Place, network: Network):
    device = place.device(network)
    (device.system / "install").write_text('#!/bin/sh\nenv | grep -E "^TUFLINE_(FILE|TARGET|LENGTH|SHA256|CUSTOM|ATTEMPT)=" > "$(dirname "$0")/env"\nread line && exit 1\nexit 0\n')
    place.repository.customs[NAME] = {"version": "2.0.1"}
    place.publish(A)
    assert device.once() == DONE
    told = dict(line.split("=", 1) for line in (device.system / "env").read_text().splitlines())
    assert Path(told.pop("TUFLINE_FILE")).name == "firmware.bin"
    about = {"TARGET": NAME, "LENGTH": "5000", "SHA256": sha256(A), "CUSTOM": '{"version":"2.0.1"}', "ATTEMPT": "1"}
    assert told == {f"TUFLINE_{name}": value for name, value in about.items()}
    assert device.status()["custom"] == {"version": "2.0.1"}


def held(place: Place, network: Network, **options) -> RunningDevice:
    """A device that is killed while its command runs; the command continues."""
    device = place.device(network, AT_ONCE, **options)
    (device.system / "holds").touch()
    place.publish(A)
    device.start()
    until("begun", device.begun)
    device.kill()
    return device


def test_killed_while_a_command_runs_it_waits_for_that_command(place: Place, network: Network):
    device = held(place, network, confirms=True)
    device.start()
    until("waiting", lambda: any("still runs; waiting" in event for event in device.events()))
    (device.system / "holds").unlink()
    until("confirmed", lambda: any("it is confirmed" in event for event in device.events()))
    assert device.stop() == 0
    assert device.log() == [f"begin {sha256(A)} 1", f"done {sha256(A)}"], "once, and alone"


def test_without_confirm_the_command_is_told_that_it_was_cut(place: Place, network: Network):
    device = held(place, network)
    device.start()
    (device.system / "holds").unlink()
    until("installed", lambda: device.journal()["installed"] == sha256(A))
    assert device.stop() == 0
    assert device.begun() == [(sha256(A), 1), (sha256(A), 2)]


def test_a_reboot_on_purpose(place: Place, network: Network):
    """The command installs beside the running system. The reboot into the new one is still to
    come."""
    device = place.device(network, confirms=True)
    (device.system / "install").write_text('#!/bin/sh\ncd "$(dirname "$0")"\necho "begin $TUFLINE_SHA256 $TUFLINE_ATTEMPT" >> log\ncp -- "$1" slot\n')
    place.publish(A)
    assert device.once() == WAITS and device.once() == WAITS
    assert device.status()["state"] == "unconfirmed" and len(device.begun()) == 1
    (device.system / "slot").rename(device.system / "system")
    assert device.once() == DONE
    assert device.status()["installed"] == sha256(A) and len(device.begun()) == 1 and device.waiting_files() == []


def test_told_to_end_while_it_installs_it_waits_for_that(place: Place, network: Network):
    device = place.device(network, AT_ONCE)
    (device.system / "holds").touch()
    place.publish(A)
    device.start()
    until("begun", device.begun)
    device.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        device.process.wait(0.5)
    (device.system / "holds").unlink()
    assert device.process.wait(30) == 0
    assert device.journal()["installed"] == sha256(A)


def test_told_to_end_while_it_downloads_it_keeps_what_came(place: Place):
    data = os.urandom(3_000_000)
    place.publish(data)
    with Network(place.repository.folder, Conditions(rate=1e6)) as network:
        device = place.device(network, AT_ONCE)
        device.start()
        until("on its way", lambda: any(file.suffix == ".part" and file.stat().st_size > 300_000 for file in device.waiting_files()))
        assert device.stop() == 0
    with Network(place.repository.folder) as network:
        device.config.write_text(device.config.read_text().replace("metadata-url = 'http://127.0.0.1:", f"metadata-url = '{network.url}metadata' # "))
        assert device.once() == DONE and device.done() == [sha256(data)]
        [request] = [request for request in network.requests if request.path.startswith("/targets/")]
        assert request.begin > 250_000


def test_bytes_of_a_day(place: Place, network: Network):
    device = place.device(network, "max-bytes-per-day = 20000")
    place.publish(A)
    assert device.once() == DONE
    came = device.status()["bytes_today"]
    assert 5000 < came < 10_000
    place.publish(b"x" * 18_000)
    assert device.once() == WAITS, "tomorrow"
    assert device.status()["failure"]["kind"] == "budget" and device.status()["state"] == "waiting"
    assert came < device.status()["bytes_today"] <= 20_000
    place.publish(b"x" * 40_000)
    assert device.once() == FAILED, "never"
    assert device.done() == [sha256(A)]


def test_a_kill_gives_no_bytes_back(place: Place):
    place.publish(os.urandom(2_000_000))
    with Network(place.repository.folder, Conditions(rate=4e5)) as network:
        device = place.device(network, f"{AT_ONCE}\nmax-bytes-per-day = 3000000")
        device.start()
        until("on its way", lambda: any(file.suffix == ".part" and file.stat().st_size > 300_000 for file in device.waiting_files()))
        device.kill()
        assert device.journal()["bytes"]["count"] >= 300_000


def test_two_never_run(place: Place, network: Network):
    device = place.device(network, AT_ONCE)
    place.publish(A)
    device.start()
    until("installed", device.done)
    assert device.once() == FAILED
    assert "another `tufline-device run`" in device.events()[-1]
    assert device.stop() == 0


def test_a_signal_asks_for_a_check_now(place: Place, network: Network):
    device = place.device(network, "every = 86400\njitter = 0")
    place.publish(A)
    device.start()
    until("idle", lambda: device.done() and device.status()["state"] == "idle" and device.status()["next_check"])
    place.publish(B)
    device.process.send_signal(signal.SIGUSR1)
    until("installed", lambda: device.done() == [sha256(A), sha256(B)])
    assert device.stop() == 0


def test_what_cannot_be_noted_is_not_begun(place: Place, network: Network):
    """As on a full disk. It costs no try."""
    device = place.device(network, f"{AT_ONCE}\ninstall-tries = 1")
    place.publish(A)
    (device.metadata / "run.journal.new").mkdir(parents=True)
    device.start()
    until("failed", lambda: device.status_file.exists() and (device.status()["failure"] or {}).get("count", 0) > 1)
    assert device.status()["failure"]["kind"] == "file" and device.log() == []
    (device.metadata / "run.journal.new").rmdir()
    until("installed", device.done)
    assert device.stop() == 0 and device.begun() == [(sha256(A), 1)]


def test_a_damaged_journal(place: Place, network: Network):
    device = place.device(network)
    place.publish(A)
    assert device.once() == DONE
    (device.metadata / "run.journal").write_bytes(b"\0" * 100)
    assert device.once() == DONE and device.done() == [sha256(A)] * 2
    assert "is damaged" in device.errors.read_text() and (device.metadata / "run.journal.damaged").exists()


def test_settings_that_cannot_be_used(place: Place, network: Network):
    for run, why in {
        "window = '2-5'": "is no window",
        "every = 0": "1 at least",
        "installed-digest = 'ab'": "64 hexadecimal digits",
        "evry = 1": "unknown field `evry`",
    }.items():
        device = place.device(network, run)
        assert device.once() == MISUSED and why in device.errors.read_text()
    device.config.write_text(device.config.read_text().partition("[run]")[0])
    assert device.once() == MISUSED and "no table [run]" in device.events()[-1]


def test_failures_are_told_and_tried_again(place: Place, network: Network):
    device = place.device(network, AT_ONCE, settings="tries = 1")
    device.start()
    until("failed", lambda: device.status_file.exists() and (device.status()["failure"] or {}).get("count", 0) > 1)
    assert device.status()["state"] in ("failing", "checking") and device.status()["failure"]["kind"] == "missing"
    place.publish(A)
    until("installed", device.done)
    until("told", lambda: device.status()["state"] == "idle")
    assert device.status()["failure"] is None and device.status()["next_check"]
    assert device.stop() == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, place: Place, network: Network, tmp_path: Path):
    """sd_notify(3)."""
    name = f"\0tufline-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(30)
        device = place.device(network, AT_ONCE)
        place.publish(A)
        device.start(NOTIFY_SOCKET=name.replace("\0", "@"), WATCHDOG_USEC="200000")
        told: list[str] = []

        def heard(what: str) -> Callable[[], bool]:
            def hear() -> bool:
                told.append(listener.recv(4096).decode())
                return told[-1].startswith(what)

            return hear

        for what in ("READY=1", "STATUS=checking", "STATUS=installing", "STATUS=idle", "WATCHDOG=1"):
            until(what, heard(what))
        device.process.terminate()
        until("stopping", heard("STOPPING=1"))
        assert device.process.wait(30) == 0


def begun_first(contents: power_disk.Contents, log: list[power_disk.Step]) -> list[power_disk.Cut]:
    """What cuts of the power may leave, if B is noted as begun in all of them that come after the
    start of its command."""
    start = next(number for number, step in enumerate(log, 1) if step[0] == "name" and step[2] == "started")
    cuts = list(power_disk.cuts(contents, log))
    for cut in cuts:
        journal = json.loads(cut.files["metadata/run.journal"])
        begun = (journal["attempt"] or {}).get("release", {}).get("digest")
        assert cut.after < start or sha256(B) in (journal["installed"], begun), cut.described()
    return cuts


@pytest.mark.slow
@pytest.mark.skipif(power_disk.why_not() is not None, reason=str(power_disk.why_not()))
def test_the_power_goes_at_any_moment(place: Place, network: Network, tmp_path: Path):
    """What is begun is on disk before its command starts; and from what a cut leaves it ends with
    the release, installed once more at most."""
    device = place.device(network)
    place.publish(A)
    assert device.once() == DONE
    begin = tmp_path / "begin"
    shutil.copytree(device.metadata, begin / "metadata")
    place.publish(B)
    started = device.system / "install"
    script = started.read_text()
    with power_disk.recorded(begin, tmp_path) as (disk, log):
        started.write_text(script.replace("set -e\n", f"set -e\n: > '{disk}/started'\n"))
        done = device.run("--metadata-dir", disk / "metadata", "run", "--once")
        assert done.returncode == DONE, done.stderr
    started.write_text(script)
    contents = power_disk.Contents.read(begin)
    cuts = begun_first(contents, log)
    assert len(cuts) > 30, "too little was recorded"
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        begun_first(contents, [step for step in log if step[0] not in ("sync", "sync names")])
    for number, cut in enumerate(random.Random(3).sample(cuts, 12)):
        folder = tmp_path / f"cut-{number}"
        cut.lay_out(folder)
        (device.system / "log").write_text("")
        done = device.run("--metadata-dir", folder / "metadata", "run", "--once")
        assert done.returncode == DONE, (cut.described(), done.stderr)
        installed = json.loads((folder / "metadata" / "run.journal").read_text())["installed"]
        assert installed == sha256(B) and len(device.begun()) <= 1, cut.described()
