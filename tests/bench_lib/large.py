"""The embedded form with many targets: filled from a folder of files, then with a burst, then with
one target at a time."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cloud_lib import Refusal
from e2e.device import sha256
from e2e.folder import FolderForm

from .files import write
from .figures import byte_count, memory, percentiles
from .names import content, name
from .timestamp import Timestamp

Row = tuple[str, str, str]

# The seconds for each target after which the bench gives up.
PATIENCE = 0.05

TICKS = os.sysconf("SC_CLK_TCK")


class Told:
    """The targets that events have announced, each with its generation. Reads each line of the file
    once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.generations: dict[str, int] = {}
        self._read = 0

    def look(self) -> dict[str, int]:
        if not self.file.exists():
            return self.generations
        with self.file.open("rb") as lines:
            lines.seek(self._read)
            whole, _, _ = lines.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            event = json.loads(line)
            if event["detail-type"] == "Targets Published":
                detail = event["detail"]
                self.generations |= {target["name"]: detail["generation"] for target in detail["targets"]}
        return self.generations


def rows(scratch: Path, targets: int, new: int, samples: int) -> Iterator[Row]:
    """Fills a repository with `targets`, publishes `new` ones at once, then some one by one."""
    folder = FolderForm(scratch / "large")
    folder.scratch.mkdir()
    for target in map(name, range(targets)):
        write(folder.path(target), content(target))
    told = Told(folder.data / "events.jsonl")
    began = time.perf_counter()
    folder.start()
    try:
        while len(told.look()) < targets:
            if time.perf_counter() - began > 60 + PATIENCE * targets:
                raise Refusal(f"only {len(told.generations):,} of {targets:,} targets were published")
            time.sleep(0.05)
        filled = time.perf_counter() - began
        yield (f"embedded: fill to {targets:,}", f"{filled:.1f} s, {targets / filled:,.0f}/s", "")
        yield from sizes(folder, targets)
        taken = burst(folder, told, targets, new)
        aim = "≥ 1,500/s"
        yield (f"embedded: {new:,} renamed into {targets:,}", f"{new / taken:,.0f}/s ({taken:.2f} s)", aim)
        yield from single(folder, targets + new, samples)
    finally:
        folder.close()


def sizes(folder: FolderForm, targets: int) -> Iterator[Row]:
    """The bytes on disk afterwards."""
    metadata = folder.data / "repository" / "metadata"
    published = folder.published_roles()
    largest = max((metadata / file).stat().st_size for file in published.values())
    repository = disk(metadata)
    told = f"ledger {byte_count(disk(folder.data / 'ledger'))}, metadata {byte_count(repository)} in all versions"
    yield (f"embedded: stored at {targets:,}", told, "")
    yield (f"embedded: roles at {targets:,}", f"{len(published):,}, largest {byte_count(largest)}", "")
    yield (f"embedded: memory at {targets:,}", byte_count(memory(folder.process.pid)), "")


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def burst(folder: FolderForm, told: Told, targets: int, new: int) -> float:
    """Seconds from the first rename until the timestamp with which a device has verified all."""
    names = [f"burst/{number // 1000}/{number}.bin" for number in range(new)]
    staged = folder.scratch / "staged"
    for target in names:
        write(staged / target, content(target))
        folder.path(target).parent.mkdir(parents=True, exist_ok=True)
    timestamp, seen = Timestamp(folder.endpoints), {}
    began = time.perf_counter()
    for target in names:
        (staged / target).rename(folder.path(target))
    deadline = began + 60 + PATIENCE * new
    while len(told.look()) < targets + new:
        if timestamp.changed():
            seen[timestamp.generation] = time.perf_counter() - began
        if time.perf_counter() > deadline:
            raise Refusal("the burst was not published")
        time.sleep(0.002)
    last = max(told.generations[target] for target in names)
    expected = {target: sha256(content(target)) for target in names}
    if folder.device().find(expected) != expected:
        raise Refusal("a device does not see the burst")
    return min(taken for generation, taken in seen.items() if generation >= last)  # events come after what they tell of


def single(folder: FolderForm, targets: int, samples: int) -> Iterator[Row]:
    """Publishes targets one after another, each alone."""
    timestamp, taken = Timestamp(folder.endpoints), []
    cpu, written = processor(folder.process.pid), bytes_written(folder.process.pid)
    for number in range(samples):
        target = f"single/{number}.bin"
        began = time.perf_counter()
        folder.put(target, content(target))
        timestamp.wait_for_change()
        taken.append(time.perf_counter() - began)
        time.sleep(0.1)  # until its event is sent too
    cpu, written = processor(folder.process.pid) - cpu, bytes_written(folder.process.pid) - written
    each = f"{percentiles(taken)}; {1000 * cpu / samples:.1f} ms of CPU, {byte_count(written / samples)} written each"
    yield (f"embedded: rename of 1 into {targets:,}", each, "p50 ≤ 100 ms")


def processor(pid: int) -> float:
    """The processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def bytes_written(pid: int) -> int:
    """The bytes that a process wrote to files and connections."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["wchar"])
