"""Measures and prints figures."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cloud_lib import ROOT


def memory(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return _status(pid, "VmRSS:")


def most_memory(pid: int) -> int:
    """The peak resident memory of a process, in bytes; 0 once the process has ended."""
    return _status(pid, "VmHWM:")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which the share `share` of the sorted values lies."""
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def percentiles(seconds: Sequence[float], high: float = 0.95) -> str:
    ordered = sorted(seconds)
    low, top = (1000 * percentile(ordered, share) for share in (0.5, high))
    return f"p50 {low:.1f} ms, p{100 * high:.0f} {top:.1f} ms (n = {len(ordered):,})"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def byte_count(count: float) -> str:
    """A number of bytes with three digits and a unit."""
    units = ["GB", "MB", "kB", "B"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop()
    unit = units[-1]
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.3g} {unit}"


def machine() -> str:
    """The machine on which the figures were measured."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in described if line.startswith("model name")]
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    load = os.getloadavg()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {int(total.split()[1]) / 1e6:.0f} GB, "
        f"Linux {platform.release()}, load {load:.1f}; commit {commit}"
    )


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table; the first row is its head. The columns `right` contain figures and are
    aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(_cells(row, widths, right)) + " |" for row in rows]
    rule = ["-" * (width + 1) + (":" if column in right else "-") for column, width in enumerate(widths)]
    lines.insert(1, "|" + "|".join(rule) + "|")
    return "\n".join(lines)


def _cells(row: Sequence[str], widths: list[int], right: Sequence[int]) -> list[str]:
    padded = enumerate(zip(row, widths, strict=True))
    return [cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in padded]
