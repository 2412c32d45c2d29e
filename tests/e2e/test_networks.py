"""tufline-device over networks that cut, delay and lie: it gets what was signed, and little more than that comes over the wire.

How often, how long and beside which other clients is measured by `tests/bench --only networks`.
"""

import random
from pathlib import Path

import pytest

from .device_program import DeviceProgram
from .foreign import ForeignRepository
from .network import PORTAL, Conditions, Network

NAME, LENGTH = "gateway/firmware.bin", 300_000
# A request and the head of its answer, at most.
HEADS = 700
CONDITIONS = {
    "quiet": Conditions(),
    "a third of the connections cut": Conditions(cut=0.3, cut_within=LENGTH),
    "each connection cut": Conditions(cut_at=60_000),
    "far away": Conditions(latency=0.1),
    "slow": Conditions(rate=400e3),
    "a third of the requests refused": Conditions(unavailable=0.3),
    "behind a captive portal at first": Conditions(portal=0.4),
    # The root, which has no next one, three documents, a bin; and the target.
    "behind one when it asks for the target": Conditions(portal=0.4, portal_from=6),
    "behind one when it goes on with the target": Conditions(cut_at=60_000, portal=0.4, portal_from=8),
    "all of it": Conditions(cut=0.3, cut_within=LENGTH, latency=0.02, rate=1e6, unavailable=0.3, portal=0.5),
}


@pytest.mark.parametrize("how", CONDITIONS)
def test_an_update_goes_through_and_costs_little(how: str, tmp_path: Path):
    repository = ForeignRepository(tmp_path / "repository", bins=16)
    noise = random.Random(how)
    old, new = noise.randbytes(LENGTH), noise.randbytes(LENGTH)
    repository.publish({NAME: old})
    root, out = repository.metadata / "1.root.json", tmp_path / "firmware.bin"
    with Network(repository.folder) as quiet:
        DeviceProgram(tmp_path, root, f"{quiet.url}metadata").fetch(NAME, out)
    assert out.read_bytes() == old
    repository.publish({NAME: new})
    for seed in range(2):
        with Network(repository.folder, CONDITIONS[how], seed) as network:
            DeviceProgram(tmp_path, root, f"{network.url}metadata").fetch(NAME, out)
            assert out.read_bytes() == new, "another file"
            # A document that was cut comes once more; and so does what answers in the server's place.
            documents = [request.path for request in network.requests if request.path.startswith("/metadata/")]
            others = sum((repository.folder / path.lstrip("/")).stat().st_size for path in documents)
            others += network.asked * HEADS + (network.asked - len(network.requests)) * len(PORTAL)
            assert network.down + network.up <= 1.05 * LENGTH + others, network.requests
        # The other seed begins where this one began.
        out.write_bytes(old)
