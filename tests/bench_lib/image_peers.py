"""What others take to bring a new image to a device that has the old one: casync, zchunk and zsync
as Debian has them, each with its own client over HTTP.

RAUC's index of blocks is reckoned, not run: its client writes to partitions only.
"""

import hashlib
import itertools
import os
import shlex
import shutil
import subprocess
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_lib import Refusal

from .figures import memory
from .image_pairs import Pair, digest
from .ranges import Ranges

# Debian's packages, each with a program that it brings.
PROGRAMS = {"casync": "casync", "zchunk": "zckdl", "zsync": "zsync", "zstd": "zstd", "xz-utils": "xz", "curl": "curl"}

# A client that takes longer is ended, in seconds.
LIMIT = 1200.0
# So often its memory is looked at.
LOOK = 0.003

BLOCK, INDEX_ENTRY = 4096, 32
# RAUC's bundle is a squashfs: of its blocks the device reads whole ones.
BUNDLE_BLOCK = 128 * 1024


@dataclass(frozen=True)
class Update:
    """One image brought to a device."""

    pair: str
    way: str
    # Of the answers' bodies; and of all heads, both ways.
    body: int
    heads: int
    requests: int
    seconds: float
    cpu_seconds: float
    # Resident, of all the client's processes together, at the most.
    memory: int
    # What the publisher makes for it, and how long that takes.
    published: int
    publish_seconds: float


class Peer(ABC):
    """A way to bring an image."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        """Makes what the server has, and what the device has beside the old image."""

    @abstractmethod
    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        """What the device runs; then the image is `out` in its folder."""

    def look(self, log: str) -> None:
        """Refuses what isn't this way, by what the last command printed."""

    def update(self, pair: Pair, scratch: Path) -> Update:
        served, device = scratch / "served", scratch / "device"
        for folder in (served, device):
            folder.mkdir(parents=True)
        began = time.perf_counter()
        self.publish(pair, served, device)
        publish_seconds = time.perf_counter() - began
        published = sum(path.stat().st_size for path in served.rglob("*") if path.is_file())
        with Ranges(served) as server:
            runs = [measured(command, device) for command in self.commands(server.url, pair, device)]
            traffic = server.traffic
        if digest(device / "out") != digest(pair.new):
            raise Refusal(f"{self.name} made another image of {pair.name}")
        self.look((device / "log").read_text(errors="replace"))
        shutil.rmtree(scratch)
        seconds, cpu = sum(run.seconds for run in runs), sum(run.cpu_seconds for run in runs)
        most = max(run.memory for run in runs)
        return Update(
            pair.name, self.name, traffic.body, traffic.heads, traffic.requests, seconds, cpu, most, published, publish_seconds
        )


class Full(Peer):
    """The whole image, packed."""

    def __init__(self, name: str, pack: str, unpack: str) -> None:
        super().__init__(name)
        self.pack, self.unpack = pack, unpack

    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        shell(f"{self.pack} < {shlex.quote(str(pair.new))} > new", served)

    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        return [["sh", "-c", f"curl -sS {url}new | {self.unpack} > out"]]


class Casync(Peer):
    """Chunks by content, each a file; the client reads the old image to find those that it has."""

    def __init__(self, kibibytes: int) -> None:
        super().__init__(f"casync, {kibibytes} KiB")
        self.chunk = f"--chunk-size={1024 * kibibytes}"

    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        shell(f"casync make {self.chunk} --store=default.castr new.caibx {shlex.quote(str(pair.new))}", served)

    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        return [["casync", "extract", self.chunk, f"--store={url}default.castr", f"--seed={pair.old}", f"{url}new.caibx", "out"]]


class Zchunk(Peer):
    """Chunks by content in one file that begins with their list. The device keeps the old image in
    the same form."""

    def __init__(self, name: str, options: str = "", dictionary: bool = False) -> None:
        super().__init__(name)
        self.options, self.dictionary = options, dictionary

    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        old, options = shlex.quote(str(pair.old)), self.options
        if self.dictionary:
            # The older release's, since chunks of other dictionaries are other chunks.
            shell(f"zck -o dict.zck {old} && zck_gen_zdict dict.zck", device)
            shutil.copy(device / "dict.zdict", served)
            options += f" -D {shlex.quote(str(device / 'dict.zdict'))}"
        shell(f"zck {options} -o old.zck {old}", device)
        shell(f"zck {options} -o new.zck {shlex.quote(str(pair.new))}", served)
        (served / "dict.zdict").unlink(missing_ok=True)

    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        return [["zckdl", "-s", "old.zck", f"{url}new.zck"], ["sh", "-c", "unzck -c new.zck > out"]]


class Zsync(Peer):
    """rsync's blocks, looked for at each byte of the old image."""

    def __init__(self, name: str, options: str = "") -> None:
        super().__init__(name)
        self.options = options

    def publish(self, pair: Pair, served: Path, device: Path) -> None:
        shutil.copy(pair.new, served / "new")
        shell(f"zsyncmake {self.options} -f new -o new.zsync new", served)
        if self.options:
            (served / "new").unlink()

    def commands(self, url: str, pair: Pair, device: Path) -> list[Sequence[object]]:
        return [["zsync", "-q", "-i", pair.old, "-o", "out", f"{url}new.zsync"]]


PEERS: list[Peer] = [
    Full("full, plain", "cat", "cat"),
    Full("full, xz -6", "xz -6 -T1 -c", "xz -d -c"),
    Full("full, zstd -19", "zstd -q -19 --single-thread -c", "zstd -q -d -c"),
    Casync(64),
    Casync(16),
    Zchunk("zchunk"),
    Zchunk("zchunk, the old one's dictionary", dictionary=True),
    Zchunk("zchunk, uncompressed digests", "-u"),
    Zsync("zsync"),
    Zsync("zsync, in a gzip", "-z -C"),
]


def updates(pair: Pair, peers: Sequence[Peer], scratch: Path) -> Iterator[Update]:
    for peer in peers:
        yield peer.update(pair, scratch)
    yield from rauc(pair)


def rauc(pair: Pair) -> Iterator[Update]:
    """Blocks of 4 KiB that are nowhere in the old image, and the list of all blocks' digests (RAUC,
    docs/advanced.rst, "block-hash-index")."""
    began = time.perf_counter()
    had = {hashlib.sha256(block).digest() for block in _blocks(pair.old)}
    missing, seen, index = [], set(had), 0
    for number, block in enumerate(_blocks(pair.new)):
        name = hashlib.sha256(block).digest()
        index += INDEX_ENTRY
        if name not in seen:
            seen.add(name)
            missing.append(number)
    seconds = time.perf_counter() - began
    runs = 1 + sum(after != before + 1 for before, after in itertools.pairwise(missing)) if missing else 0
    plain = index + BLOCK * len(missing)
    yield Update(pair.name, "RAUC's blocks, plain (reckoned)", plain, 0, 1 + runs, seconds, seconds, 0, pair.new.stat().st_size + index, 0)
    read = sorted({BLOCK * number // BUNDLE_BLOCK for number in missing})
    packed = index
    with pair.new.open("rb") as image:
        for number in read:
            image.seek(BUNDLE_BLOCK * number)
            packed += len(zlib.compress(image.read(BUNDLE_BLOCK), 9))
    yield Update(pair.name, "RAUC's blocks, in a bundle (reckoned)", packed, 0, 1 + len(read), seconds, seconds, 0, 0, 0)


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as image:
        while block := image.read(BLOCK):
            yield block


@dataclass(frozen=True)
class Run:
    """What a command took, all of its processes together."""

    seconds: float
    cpu_seconds: float
    memory: int


def measured(command: Sequence[object], folder: Path) -> Run:
    with (folder / "log").open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        ended, most = 0, 0
        while not ended:
            most = max(most, sum(map(_resident, _family(process.pid))))
            if time.perf_counter() - began > LIMIT:
                process.kill()
            time.sleep(LOOK)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Refusal(f"`{' '.join(map(str, command))}` ended with {process.returncode}: {(folder / 'log').read_text(errors='replace')[-1000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, most)


def _family(pid: int) -> list[int]:
    """A process and those that it began."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident(pid: int) -> int:
    try:
        return memory(pid)
    except OSError:
        return 0


def shell(line: str, folder: Path) -> None:
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise Refusal(f"`{line}` failed: {(done.stderr or done.stdout)[-1000:]}")
