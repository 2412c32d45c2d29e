"""The requests of a large burst to AWS, counted on a deployment as in `tests/cost`."""

from collections.abc import Iterator
from pathlib import Path

from cost_lib import workloads
from cost_lib.arithmetic import PIPELINE
from cost_lib.deployment import Deployment

Row = tuple[str, str, str]

# The emulator handles about a hundred artifacts a second.
PATIENCE = 0.1


def rows(scratch: Path, data: Path, artifacts: int) -> Iterator[Row]:
    """A burst of this many artifacts, uploaded with their SHA-256."""
    deployment = Deployment(scratch, data)
    deployment.patience += PATIENCE * artifacts
    try:
        usage = workloads.burst(deployment, artifacts, checksum=True)
    finally:
        deployment.close()
    asked = sum(times for (who, *_), times in usage.requests.items() if who in PIPELINE)
    # Each batch is received and deleted.
    polled = 2 * sum(usage.batches.values())
    what = f"emulated cloud: burst of {artifacts:,}"
    yield (f"{what}: requests of functions per artifact", f"{asked / artifacts:.2f}", "≤ 10")
    yield (f"{what}: with Lambda's own to the queues", f"{(asked + polled) / artifacts:.2f}", "")
    yield (f"{what}: generations", f"{usage.generations:,} in {usage.seconds:.0f} s", "")
