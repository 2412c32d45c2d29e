"""Large uploads are read in many runs. Neither they nor a flood of small ones delay others for
long."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .device import sha256, sha256_of_file
from .folder import FolderForm
from .form import Form
from .polling import until
from .test_burst import names_in

MIB = 1 << 20

# Longer uploads are large, and read in many runs. Copies longer than a run are made in parts.
RUN = 128 << 10
SIZES = {"above": 64 << 10, "piece": 16 << 10, "run": RUN, "copy_above": RUN, "copy_part": 64 << 10}
STREAM = "hashing = \"stream\"\n[large_uploads]\n" + "".join(f"{name} = {size}\n" for name, size in SIZES.items())

FLOOD = 60_000
# The most generations between the end of a small upload and the one that contains it, during a
# flood.
FEW = 5

# A run's log line, as text or as JSON.
READ = re.compile(r"""upload read.*?begin\W+(\d+)\W.*?offset\W+(\d+)\W""")


class Watched:
    """A repository in which large uploads take many runs, and a record of these runs."""

    def __init__(self, form: Form, length: int, log: Callable[[], str]) -> None:
        self.form, self.length, self.log = form, length, log

    def runs(self) -> list[tuple[int, int]]:
        """The beginning and the end of each run."""
        found = (READ.search(line) for line in self.log().splitlines() if "upload read" in line)
        return [(int(match[1]), int(match[2])) for match in found if match]


@pytest.fixture(params=["folder", "cloud"])
def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Each form in turn."""
    if request.param == "folder":
        monkeypatch.setenv("RUST_LOG", "tufline_pipeline=info")
        folder = request.getfixturevalue("make_folder")(config=STREAM).start()
        return Watched(folder, 64 * MIB, folder.log.read_text)
    variant = request.getfixturevalue("deploy")("Large", {"access": "open"})
    for stage in ("hash", "large"):
        function = variant.function(stage)
        config = json.dumps({"hashing": "stream", "large_uploads": SIZES})
        variant.set_variables(function["FunctionName"], {**function["Environment"]["Variables"], "TUFLINE_CONFIG": config})
    started = time.time()
    return Watched(variant, 4 * MIB, lambda: variant.log("large", started))


def test_a_large_upload_is_read_in_many_runs_and_small_ones_overtake_it(watched: Watched, tmp_path: Path):
    form, big, path = watched.form, "big/image.bin", tmp_path / "image.bin"
    path.write_bytes(os.urandom(watched.length))
    expected = sha256_of_file(path)
    device = form.device()
    form.put(big, path.read_bytes())
    until("begun", watched.runs, 60)
    overtook = 0
    for number in range(3):
        small = f"small/{number}"
        form.put(small, small.encode())
        form.wait_published({small: sha256(small.encode())}, device=device)
        overtook += device.find([big])[big] is None
    assert overtook, "the large upload was published before any small one: it tells nothing"
    form.wait_published({big: expected}, seconds=240, device=device)
    assert sha256_of_file(device.download(big)) == expected
    runs = until("logged", lambda: [run for run in watched.runs() if run[1] == watched.length] and watched.runs(), 60)
    assert len(runs) >= watched.length // RUN, f"{len(runs)} runs"
    # Each continued where an earlier one had ended.
    ends = {end for _, end in runs}
    assert all(begin == 0 or begin in ends for begin, _ in runs)
    assert sum(end - begin for begin, end in runs) == watched.length, "each byte was read once"
    print(f"{form.kind}: {watched.length} bytes in {len(runs)} runs, overtaken by {overtook} of 3")


def test_a_large_upload_goes_on_after_a_kill(make_folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUST_LOG", "tufline_pipeline=info")
    folder = make_folder(config=STREAM).start()
    watched, data = Watched(folder, 64 * MIB, folder.log.read_text), os.urandom(64 * MIB)
    folder.put("big", data)
    for _ in range(3):
        before = len(watched.runs())
        until("some runs", lambda before=before: len(watched.runs()) > before + 20, 60)
        folder.kill()
        folder.start()
    folder.wait_published({"big": sha256(data)}, seconds=120)
    runs = watched.runs()
    assert sum(begin == 0 for begin, _ in runs) == 1, "only the first began at the beginning"
    # A run that was killed before its progress was stored is repeated.
    assert sum(end - begin for begin, end in runs) <= watched.length + 4 * RUN


@pytest.mark.slow
def test_a_flood_keeps_a_small_upload_waiting_for_few_generations(folder: FolderForm, tmp_path: Path):
    # A fast machine finishes a flood before the small uploads come; then a larger flood follows.
    for size in (FLOOD, 2 * FLOOD, 4 * FLOOD):
        waited, behind = small_uploads_in_a_flood(folder, tmp_path / f"{size}", size)
        print(f"waited for {waited} generations while {behind} of {size} were still to come")
        assert max(waited) <= FEW, waited
        if behind[0] > size // 10:
            return
    pytest.fail("each flood was over: it tells nothing")


def small_uploads_in_a_flood(folder: FolderForm, source: Path, size: int) -> tuple[list[int], list[int]]:
    """How many generations each of three small uploads waited for, and how much of the flood was
    still waiting then."""
    flood = f"flood-{size}/"
    for number in range(size):
        file = source / flood / f"d{number % 7}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
    start = folder.generation()
    # All at once: the time that the system takes to report each file isn't Tufline's.
    (source / flood).rename(folder.uploads / flood)
    until("begun", lambda: published(folder, start, flood), 60)
    # Once this upload is published, all of the flood has been reported.
    folder.put(f"first-{size}", b"first")
    folder.wait_published({f"first-{size}": sha256(b"first")}, seconds=60)
    waited, behind = [], []
    for number in range(3):
        small = f"small-{size}/{number}"
        folder.put(small, small.encode())
        before = folder.generation()
        generation = until("made", lambda small=small, before=before: made_in(folder, before, small), 60)
        waited.append(generation - before)
        behind.append(size - len(published(folder, start, flood)))
    folder.wait_published({f"small-{size}/{number}": sha256(f"small-{size}/{number}".encode()) for number in range(3)})
    until("all", lambda: len(published(folder, start, flood)) == size, 240, 0.2)
    return waited, behind


def published(folder: FolderForm, start: int, prefix: str) -> set[str]:
    """The names that generations since `start` have set."""
    return {name for manifest in folder.manifests(start) for name in names_in(manifest) if name.startswith(prefix)}


def made_in(folder: FolderForm, after: int, name: str) -> int | None:
    """The generation after `after` that contains this name."""
    found = (manifest["generation"] for manifest in folder.manifests(after) if name in names_in(manifest))
    return next(found, None)
