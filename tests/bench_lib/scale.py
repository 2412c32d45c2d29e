"""Publishing into repositories with few and with many targets: the stages over ports in memory, by
`functions/pipeline/benches/scale`, compared with other tools."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cloud_lib import ROOT, Refusal

from . import peers
from .figures import byte_count, table

# The window in which AWS collects uploads and changes, in milliseconds.
AWS_WINDOW = 1000

# The burst goes into a repository of this size, or of the largest measured size if that is smaller.
BURST_INTO = 100_000


@cache
def benches() -> dict[str, Path]:
    """The binaries of the benches by name, built like the release."""
    command = ["cargo", "bench", "--workspace", "--bench", "scale", "--bench", "scale-heap", "--bench", "packs"]
    options = ["--no-run", "--locked", "--quiet", "--message-format=json"]
    built = subprocess.run([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Refusal("the bench could not be built (see above)")
    artifacts = (json.loads(line) for line in built.stdout.splitlines())
    return {
        artifact["target"]["name"]: Path(artifact["executable"])
        for artifact in artifacts
        if artifact["reason"] == "compiler-artifact" and artifact["target"]["kind"] == ["bench"]
    }


def run(*arguments: object, bench: str = "scale") -> dict:
    """The figures of a command of the bench, in its own process."""
    done = subprocess.run([benches()[bench], *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Refusal(f"the bench failed (see above): {' '.join(map(str, arguments))}")
    return json.loads(done.stdout)


def run_with_heap(figures: str, *arguments: object) -> dict:
    """As :func:`run`, with the memory from a second run added to `figures`: counting memory takes
    longer than the measured work."""
    measured = run(*arguments)
    measured[figures]["peak_heap"] = run(*arguments, bench="scale-heap")[figures]["peak_heap"]
    return measured


# One into many


@dataclass(frozen=True)
class Figure:
    """A row for each tool: what is measured, and its format."""

    what: str
    of: Callable[[dict], float]
    written: Callable[[float], str]


def seconds(value: float) -> str:
    return f"{1000 * value:,.1f} ms" if value < 1 else f"{value:,.1f} s"


def plain(value: float) -> str:
    return f"{value:,.0f}"


TUFLINE = (
    Figure("CPU", lambda one: one["median"]["cpu_seconds"], seconds),
    Figure("bytes written", lambda one: sum(one["median"]["written"].values()), byte_count),
    Figure("… of these devices' metadata", lambda one: one["median"]["written"]["metadata"], byte_count),
    Figure("requests of functions", lambda one: asked(one["median"]), plain),
    Figure("memory on the heap, most", lambda one: one["median"]["peak_heap"], byte_count),
    Figure("latency, ports without delay", lambda one: one["median"]["seconds"], seconds),
    Figure("latency, S3 20 ms, SQS 10 ms, KMS 15 ms", lambda one: one["delayed"]["seconds"], seconds),
    Figure("roles", lambda one: one["roles"], plain),
)

PEER = (
    Figure("CPU", lambda run: run.cpu_seconds, seconds),
    Figure("bytes written", lambda run: run.written, byte_count),
    Figure("files written", lambda run: run.files, plain),
    Figure("memory, most", lambda run: run.memory, byte_count),
    Figure("time", lambda run: run.seconds, seconds),
)


def asked(measured: dict) -> int:
    """The functions' own requests. Lambda itself receives and deletes messages."""
    return sum(times for what, times in measured["requests"].items() if what not in ("SQS receive", "SQS delete"))


def one_into_many(scratch: Path, sizes: list[int], samples: int) -> str:
    """The table of publishing one target, with the other tools, and how much more it takes at the
    largest size."""
    peers.install_tuftool()
    measured = {
        ("Tufline", TUFLINE): [
            run_with_heap("median", "one", "--targets", targets, "--samples", samples) for targets in sizes
        ],
        (f"tuftool {peers.TUFTOOL_VERSION}, flat", PEER): [peers.tuftool(scratch, targets) for targets in sizes],
        (f"python-tuf 7, {peers.PYTHON_TUF_LAYOUT}", PEER): [peers.python_tuf(scratch, targets) for targets in sizes],
    }
    head = ("publish 1 target into", *(f"{targets:,}" for targets in sizes), "last / first")
    rows = [row(who, figure, runs) for (who, figures), runs in measured.items() for figure in figures]
    rows.append(compared("CPU: tuftool / Tufline", *(measured[key] for key in list(measured)[:2])))
    return table([head, *rows], right=range(1, len(head)))


def row(who: str, figure: Figure, runs: list) -> tuple[str, ...]:
    """A figure at each size, or the time limit for a run that was stopped."""
    values = [None if run is None else figure.of(run) for run in runs]
    cells = (f"> {peers.LIMIT:.0f} s" if value is None else figure.written(value) for value in values)
    growth = "" if None in values or not values[0] else f"{values[-1] / values[0]:.2f} ×"
    return (f"{who}: {figure.what}", *cells, growth)


def compared(what: str, ours: list[dict], theirs: list) -> tuple[str, ...]:
    factors = (
        "" if run is None else f"{PEER[0].of(run) / TUFLINE[0].of(one):,.0f} ×" for one, run in zip(ours, theirs, strict=True)
    )
    return (what, *factors, "")


# Many into many


def bursts(targets: int, new: int) -> str:
    """The table of a burst and of one target, each at full speed and at AWS's pace."""
    rows = [
        (f"publish into {targets:,}", "new", "time", "artifacts/s", "CPU", "generations", "requests per artifact", "memory")
    ]
    for what, arguments in {
        "ports without delay": (),
        "S3 20 ms, SQS 10 ms, KMS 15 ms": ("--delays",),
        "… and windows of 1 s for batches": ("--delays", "--window", AWS_WINDOW),
    }.items():
        for count in (1, new):
            measured = run_with_heap("burst", "burst", "--targets", targets, "--new", count, *arguments)["burst"]
            time, per_artifact = measured["seconds"], asked(measured) / count
            cells = (f"{count:,}", f"{time:.2f} s", f"{count / time:,.0f}", f"{measured['cpu_seconds']:.2f} s")
            rows.append(
                (what, *cells, plain(measured["generations"]), f"{per_artifact:.2f}", byte_count(measured["peak_heap"]))
            )
    return table(rows, right=range(1, 8))


# From nothing to many


def fills(sizes: list[int]) -> str:
    """The table of filling an empty repository, in batches as AWS makes them."""
    head = ("fill to", "time", "CPU", "targets/s", "generations", "ledger", "metadata stored", "metadata published")
    rows = [(*head, "largest role", "snapshot", "roles")]
    for targets in sizes:
        filled = run("fill", "--targets", targets)
        stored = {folder: figures["bytes"] for folder, figures in filled["stored"].items()}
        metadata = stored.pop("metadata")
        rows.append(
            (
                f"{targets:,}",
                seconds(filled["seconds"]),
                seconds(filled["cpu_seconds"]),
                plain(targets / filled["seconds"]),
                plain(filled["generations"]),
                byte_count(sum(stored.values())),
                byte_count(metadata),
                byte_count(filled["published_bytes"]),
                byte_count(filled["largest_role_bytes"]),
                byte_count(filled["snapshot_bytes"]),
                plain(filled["roles"]),
            )
        )
    return table(rows, right=range(1, 11))


def tables(scratch: Path, sizes: list[int], new: int, samples: int) -> Iterator[str]:
    """Yields all tables of this module."""
    yield one_into_many(scratch, sizes, samples)
    yield bursts(min(sizes[-1], BURST_INTO), new)
    yield fills(sizes)
