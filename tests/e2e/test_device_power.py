"""tufline-device killed, or without power, at any moment: each file under its final name is old or
new, and whole, and the next run continues.

Of a target on its way, only bytes that weren't on disk yet may be lost: never bytes that its note
calls safe.
"""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import power_disk
from .device import sha256
from .device_program import DONE, FAILED, PROGRAM, DeviceProgram
from .foreign import ForeignRepository
from .network import Conditions, Network

pytestmark = pytest.mark.slow

LONG = os.environ.get("TUFLINE_LONG") == "1"
NAME = "gateway/firmware.bin"
# What a run leaves in addition to documents.
OTHERS = {"lock", "rotated"}

noise = random.Random(5)


class Update:
    """A device with one version of a target; and a repository with the next version, and with a new
    key of the timestamp."""

    def __init__(self, scratch: Path, length: int) -> None:
        self.scratch = scratch
        self.length = length
        self.repository = ForeignRepository(scratch / "repository", bins=16)
        self.root = self.repository.metadata / "1.root.json"
        self.begin = scratch / "begin"
        self.old = self.new = b""
        self.publish()
        with Network(self.repository.folder) as network:
            assert self.fetch(network, self.begin).returncode == DONE
        self.publish()

    def publish(self) -> None:
        """Publishes the next version, and a root that removes a key of the timestamp."""
        if self.new:
            self.repository.replace_key("timestamp")
        self.old, self.new = self.new, noise.randbytes(self.length)
        self.repository.publish({NAME: self.new})

    def command(self, network: Network, folder: Path, settings: str = "") -> list[str]:
        """The command that fetches the target, with everything that it stores in `folder`."""
        place(folder).parent.mkdir(parents=True, exist_ok=True)
        # The settings are on a disk that doesn't fail.
        device = DeviceProgram(self.scratch / "settings", self.root, f"{network.url}metadata", settings=settings)
        return device.command("--metadata-dir", folder / "metadata", "fetch", NAME, "--out", place(folder))

    def fetch(self, network: Network, folder: Path, settings: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(self.command(network, folder, settings), capture_output=True, text=True)

    def documents(self, folder: Path) -> dict[str, set[bytes]]:
        """What may be stored under each name: the stored file or the published one; for the root,
        each version on the way."""
        allowed = {path.name: {path.read_bytes()} for path in (folder / "metadata").glob("*.json")}
        newest: dict[str, int] = {}
        for path in self.repository.metadata.glob("*.*.json"):
            version, _, name = path.name.partition(".")
            newest[name] = max(newest.get(name, 0), int(version))
        files = {name: [f"{version}.{name}"] for name, version in newest.items()}
        files["root.json"] = [f"{version}.root.json" for version in range(1, newest["root.json"] + 1)]
        files["timestamp.json"] = ["timestamp.json"]
        for name, versions in files.items():
            allowed.setdefault(name, set()).update((self.repository.metadata / file).read_bytes() for file in versions)
        return allowed


def place(folder: Path) -> Path:
    return folder / "downloads" / "firmware.bin"


def part(folder: Path) -> Path:
    """The part of the target, if there is one."""
    return next(iter(place(folder).parent.glob("*.part")), place(folder).with_name(".part"))


def note(folder: Path) -> Path:
    return next(iter(place(folder).parent.glob("*.note")), place(folder).with_name(".note"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expect_whole(files: dict[str, bytes], update: Update, allowed: dict[str, set[bytes]], when: str) -> int:
    """Checks the invariants of a device's files, and returns how many bytes of the target are
    stored for good."""
    for path, data in files.items():
        folder, _, name = path.rpartition("/")
        if folder == "metadata" and not name.endswith(".new") and name not in OTHERS:
            assert data in allowed[name], f"{name}, which has {len(data)} bytes, is neither old nor new {when}"
    assert files["downloads/firmware.bin"] in (update.old, update.new), f"the target is neither old nor new {when}"
    if files["downloads/firmware.bin"] == update.new:
        return update.length
    notes = [json.loads(data) for path, data in files.items() if path.endswith(".note")]
    parts = [data for path, data in files.items() if path.endswith(".part")]
    if not notes or notes[0]["digest"] != sha256(update.new):
        return 0
    assert parts, f"what is called safe is gone {when}"
    safe = notes[0]["safe"]
    assert parts[0][:safe] == update.new[:safe], f"what is called safe isn't {when}"
    return safe


def target_requests(network: Network) -> list:
    return [request for request in network.requests if request.path.startswith("/targets/")]


def test_killed_at_random_moments(tmp_path: Path):
    """`kill -9` loses nothing that is on disk, so the next run has everything that the last one
    wrote."""
    update, chance, wanted = Update(tmp_path, 5_000_000), random.Random(60), 500 if LONG else 60
    folder, kills, runs, whole = update.begin, 0, 0, 0.0
    while kills < wanted:
        allowed, killed = update.documents(folder), 0
        while place(folder).read_bytes() != update.new:
            runs += 1
            kept = expect_whole(tree(folder), update, allowed, f"before run {runs}")
            # Cuts the network too, except in the first run: after a cut the device puts what it has
            # on disk.
            conditions = Conditions(rate=40e6, cut=0.5 if whole else 0, latency=0.002)
            with Network(update.repository.folder, conditions, runs) as network:
                began = time.monotonic()
                process = subprocess.Popen(update.command(network, folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                # The first run, which measures the duration, and the run after each ten kills run
                # to their end.
                if whole and killed < 10:
                    time.sleep(whole * chance.uniform(0, chance.choice([0.25, 1.2])))
                    process.kill()
                _, errors = process.communicate()
                if process.returncode == DONE:
                    whole = min(whole or 60.0, time.monotonic() - began)
            assert process.returncode in (DONE, -9), errors
            killed += process.returncode == -9
            requests = target_requests(network)
            assert not requests or requests[0].begin == kept, f"run {runs} has {kept} bytes, and asks from {requests[0].begin} on"
        expect_whole(tree(folder), update, allowed, f"after run {runs}")
        kills += killed
        update.publish()
    print(f"{kills} kills, {runs} runs")


# What a power failure or a bad disk may leave. Each entry changes a folder in which an update
# stopped in the middle of the target.


def cut_part(folder: Path) -> None:
    os.truncate(part(folder), part(folder).stat().st_size // 2)


def empty(file: Callable[[Path], Path]) -> Callable[[Path], None]:
    return lambda folder: file(folder).write_bytes(b"")


def written(file: Callable[[Path], Path], data: bytes) -> Callable[[Path], None]:
    return lambda folder: file(folder).write_bytes(data)


def changed(file: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: file(folder).write_bytes(change(file(folder).read_bytes()))


def renoted(**fields: object) -> Callable[[Path], None]:
    return changed(note, lambda data: json.dumps({**json.loads(data), **fields}).encode())


def in_metadata(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / "metadata" / name


def unfinished(folder: Path) -> None:
    for file in [*(folder / "metadata").iterdir(), note(folder)]:
        file.with_name(f"{file.name}.new").write_bytes(noise.randbytes(100))


def zeroed(at: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        begin = round(at * len(data))
        return data[:begin] + bytes(min(4096, len(data) - begin)) + data[begin + 4096 :]

    return change


# The offsets at which the next run asks for the target, as shares of what was stored: it continues,
# or starts over, or starts over when the damage shows.
GOES_ON, FROM_HALF, ANEW, ANEW_LATER = [1.0], [0.5], [0.0], [1.0, 0.0]
DAMAGES: dict[str, tuple[Callable[[Path], None], list[float]]] = {
    "nothing": (lambda folder: None, GOES_ON),
    "the part is cut": (cut_part, FROM_HALF),
    "the part is empty": (empty(part), ANEW),
    "the part is gone": (lambda folder: part(folder).unlink(), ANEW),
    "the part has zeros at its beginning": (changed(part, zeroed(0)), ANEW_LATER),
    "the part has zeros in the middle": (changed(part, zeroed(0.5)), ANEW_LATER),
    "the part is zeros": (changed(part, lambda data: bytes(len(data))), ANEW_LATER),
    "the part has one other bit": (changed(part, lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]), ANEW_LATER),
    "the part has more behind": (changed(part, lambda data: data + noise.randbytes(9000)), GOES_ON),
    "the part has more than the target": (changed(part, lambda data: data + noise.randbytes(900_000)), GOES_ON),
    "the note is gone": (lambda folder: note(folder).unlink(), ANEW),
    "the note is empty": (empty(note), ANEW),
    "the note is zeros": (changed(note, lambda data: bytes(len(data))), ANEW),
    "the note is cut": (changed(note, lambda data: data[: len(data) // 2]), ANEW),
    "the note is another document": (written(note, b"[]"), ANEW),
    "the note is of another target": (renoted(digest="00" * 32), ANEW),
    "the note has no digest": (renoted(digest=""), ANEW),
    "the note says more": (renoted(safe=10**9), GOES_ON),
    "the note says most": (renoted(safe=2**64 - 1), GOES_ON),
    "the note says less than nothing": (renoted(safe=-1), ANEW),
    "the note is of another ETag": (renoted(etag='"other"'), ANEW),
    "the note has a bad ETag": (renoted(etag="\n\u0000\u00e9"), GOES_ON),
    "the note has no ETag": (renoted(etag=None), GOES_ON),
    "files that weren't finished": (unfinished, GOES_ON),
    **{
        f"{name} is {how}": (changed(in_metadata(name), change), GOES_ON)
        for name in ("timestamp.json", "snapshot.json", "targets.json", "lock")
        for how, change in {
            "empty": lambda data: b"",
            "zeros": lambda data: bytes(len(data)),
            "cut": lambda data: data[: len(data) // 2],
        }.items()
    },
    **{
        f"the note of a rotation is {data[:20]!r}": (written(in_metadata("rotated"), data), GOES_ON)
        for data in (b"", b"3", b"999999", b"\xff\xfe", b"-1", bytes(8), b"7" * 100)
    },
    "the target is cut": (changed(place, lambda data: data[:1000]), GOES_ON),
    "the target is empty": (empty(place), GOES_ON),
    "the target is gone": (lambda folder: place(folder).unlink(), GOES_ON),
}


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Update:
    """An update that stopped in the middle of the target, because the connection broke."""
    update = Update(tmp_path_factory.mktemp("halfway"), 400_000)
    with Network(update.repository.folder, Conditions(cut_at=220_000)) as network:
        assert update.fetch(network, update.begin, "tries = 1").returncode == FAILED
    assert 150_000 < part(update.begin).stat().st_size < 250_000
    return update


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files(damage: str, halfway: Update, tmp_path: Path):
    folder = tmp_path / "device"
    shutil.copytree(halfway.begin, folder)
    kept = part(folder).stat().st_size
    damaged, begins = DAMAGES[damage]
    damaged(folder)
    with Network(halfway.repository.folder) as network:
        done = halfway.fetch(network, folder)
    assert done.returncode == DONE and not done.stderr, done.stderr
    assert place(folder).read_bytes() == halfway.new
    assert [request.begin for request in target_requests(network)] == [int(share * kept) for share in begins]
    left = {path.name for path in place(folder).parent.iterdir()} - {place(folder).name}
    assert not {name for name in left if not name.endswith(".new")}, "a part or a note is left"


@pytest.mark.parametrize("change", [b"", bytes(1000), b'{"signed": {'])
def test_a_damaged_root(change: bytes, halfway: Update, tmp_path: Path):
    """The trust anchor is damaged: with the root of its image the device continues, without it the
    message says what to do."""
    folder = tmp_path / "device"
    shutil.copytree(halfway.begin, folder)
    (folder / "metadata" / "root.json").write_bytes(change)
    with Network(halfway.repository.folder) as network:
        where = ["--metadata-dir", folder / "metadata", "--metadata-url", f"{network.url}metadata"]
        done = subprocess.run([PROGRAM, *where, "refresh"], capture_output=True, text=True)
        assert done.returncode == FAILED and len(done.stderr.splitlines()) == 1, done.stderr
        assert "damaged" in done.stderr and "initialize again" in done.stderr, done.stderr
        assert halfway.fetch(network, folder).returncode == DONE
    assert place(folder).read_bytes() == halfway.new


# A disk that forgets what wasn't synced


needs_disk = pytest.mark.skipif(power_disk.why_not() is not None, reason=str(power_disk.why_not()))
LENGTH = 300_000


class Recording:
    """What a client did on a disk in one update, during which the network was cut again and
    again."""

    def __init__(self, update: Update, begin: Path, scratch: Path) -> None:
        self.update = update
        self.allowed = update.documents(begin)
        self.begin = power_disk.Contents.read(begin)
        with power_disk.recorded(begin, scratch) as (disk, log), Network(update.repository.folder, Conditions(cut_at=90_000)) as network:
            done = update.fetch(network, disk)
            assert done.returncode == DONE, done.stderr
        self.log = log

    def cuts(self, log: list[power_disk.Step] | None = None, seed: object = 0) -> list[tuple[power_disk.Cut, int]]:
        """What a power failure may leave, after checks that all of it is valid; with the stored
        bytes of the target."""
        log = self.log if log is None else log
        cuts = []
        for cut in power_disk.cuts(self.begin, log, seed):
            cuts.append((cut, expect_whole(cut.files, self.update, self.allowed, cut.described())))
            # When the program has ended, the target is there for good.
            assert cut.after < len(log) or cut.files["downloads/firmware.bin"] == self.update.new, cut.described()
        return cuts


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    scratch = tmp_path_factory.mktemp("recording")
    update = Update(scratch, LENGTH)
    return Recording(update, update.begin, scratch)


@needs_disk
def test_the_power_goes_at_any_moment(recording: Recording, tmp_path: Path):
    """Every step of the client on a disk is recorded. The next run continues from everything that a
    power failure after a step may leave."""
    cuts = recording.cuts()
    assert sum(step[0] == "write" for step in recording.log) > 20 and len(cuts) > 100, "too little was recorded"
    tried = cuts if LONG else random.Random(3).sample(cuts, 60)
    with Network(recording.update.repository.folder) as network:
        for number, (cut, kept) in enumerate(tried):
            folder = tmp_path / f"cut-{number}"
            cut.lay_out(folder)
            network.requests.clear()
            done = recording.update.fetch(network, folder)
            assert done.returncode == DONE and not done.stderr, (cut.described(), done.stderr)
            assert place(folder).read_bytes() == recording.update.new, cut.described()
            assert sum(request.sent for request in target_requests(network)) == LENGTH - kept, cut.described()
            shutil.rmtree(folder)


@needs_disk
def test_the_power_goes_again_and_again(recording: Recording, tmp_path: Path):
    """The power fails again during the run that continues."""
    chance = random.Random(4)
    cut, _ = chance.choice(recording.cuts())
    for number in range(100 if LONG else 4):
        scratch = tmp_path / f"round-{number}"
        cut.lay_out(scratch / "begin")
        cut, _ = chance.choice(Recording(recording.update, scratch / "begin", scratch).cuts(seed=number))


def without(*kinds: str, of: str = "") -> Callable[[list[power_disk.Step]], list[power_disk.Step]]:
    """A client that omits these steps, for files whose final names end in `of`."""

    def change(log: list[power_disk.Step]) -> list[power_disk.Step]:
        names = {step[-1]: step[-2] for step in log if step[0] in ("name", "rename")}
        return [step for step in log if step[0] not in kinds or (of and not names.get(step[1], "").endswith(of))]

    return change


def note_first(log: list[power_disk.Step]) -> list[power_disk.Step]:
    """A client that syncs the part only after the note that calls it safe."""
    part = next(step[3] for step in log if step[0] == "name" and step[2].endswith(".part"))
    changed, waiting = [], []
    for step in log:
        if step == ("sync", part):
            waiting.append(step)
            continue
        changed.append(step)
        if step[0] == "sync names":
            changed += waiting
            waiting = []
    return changed


def in_place(log: list[power_disk.Step]) -> list[power_disk.Step]:
    """A client that writes documents in place, without a rename."""
    begun = {step[3]: step for step in log if step[0] == "name" and step[2].endswith(".json.new")}
    return [
        ("name", step[1], step[2].removesuffix(".new"), step[3]) if step in begun.values() else step
        for step in log
        if not (step[0] == "rename" and step[-1] in begun)
    ]


@needs_disk
@pytest.mark.parametrize(
    "change",
    [without("sync", of=".json"), without("sync", of="firmware.bin"), without("sync", of=".note"), without("sync names"), note_first, in_place],
    ids=["documents aren't synced", "the target isn't synced", "notes aren't synced", "folders aren't synced", "the note comes first", "no rename"],
)
def test_a_client_that_takes_less_care_is_seen(change: Callable, recording: Recording):
    """The judge can fail: it rejects the same steps if some are missing."""
    log = change(recording.log)
    assert log != recording.log
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        recording.cuts(log)


@needs_disk
def test_what_is_on_its_way_is_put_on_disk_now_and_then(tmp_path: Path):
    """Without a power failure too: every 4 MiB (device/cli/src/part.rs)."""
    update = Update(tmp_path, 5_000_000)
    with power_disk.recorded(update.begin, tmp_path) as (disk, log), Network(update.repository.folder, Conditions(rate=1e9)) as network:
        assert update.fetch(network, disk).returncode == DONE
    waiting = most = 0
    for step in log:
        match step:
            case ("write", _, _, data):
                waiting += len(data)
                most = max(most, waiting)
            case ("sync", _):
                waiting = 0
    assert 4 << 20 <= most < (4 << 20) + (1 << 18)
    assert any(step[0] == "rename" and step[4].endswith(".note") for step in log)


@needs_disk
def test_a_root_that_is_trusted_stays_so(tmp_path: Path):
    """In a new folder."""
    root = ForeignRepository(tmp_path / "repository").metadata / "1.root.json"
    empty = tmp_path / "empty"
    empty.mkdir()
    with power_disk.recorded(empty, tmp_path) as (disk, log):
        subprocess.run([PROGRAM, "--metadata-dir", disk / "data" / "tuf", "init", root], check=True, capture_output=True)
    for cut in power_disk.cuts(power_disk.Contents.read(empty), log):
        found = cut.files.get("data/tuf/root.json")
        assert found == root.read_bytes() or (found is None and cut.after < len(log)), cut.described()
