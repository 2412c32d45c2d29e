"""Every attack on every client. The test asserts what our device does, and reports the others.

    .venv/bin/pytest tests/e2e/test_device_attacks.py -k timestamp    only these rows
    TUFLINE_DEVICE_BIN=FILE      tests this `tufline-device`, not the one beside `tufline`
    TUFLINE_WRITE_MATRIX=FILE    writes the table, as Markdown

Each client knows the old repository. It sees the attack, and then what ends the attack. After that
it must be as current as if there had been no attack.
"""

import itertools
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pytest

from .attack_clients import MIB, Client, Outcome, PackedDevice, PythonTuf, Tough, TufJs, TuflineDevice
from .attack_repository import DEEP, FIRMWARE, SHARED_TARGET, Repository
from .attack_server import Scene, Server
from .attacks import ATTACKS, BIN, NO_TARGET, REFUSED, TAKEN, WEAKNESSES, Attack, Play, World
from .foreign import in_days

# How long the expiring repository is valid, in days: long enough to make all clients know it.
SHORT = 12 / 86_400
FOLDERS = {"full": "full", "lean": "lean", "bare": "bare", "short": "full"}


@dataclass(frozen=True)
class Result:
    """The result of one client in one row."""

    attacked: Outcome
    recovered: Outcome | None
    scene: Scene
    ending: Scene | None
    before: dict[str, bytes]
    after: dict[str, bytes]
    # The bytes at the target's place before and after the attack.
    places: tuple[bytes, bytes]
    folder: Path
    world: World
    complaint: str


class Matrix:
    """Runs the rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = [TuflineDevice(), PackedDevice()]
        self.clients: list[Client] = [*self.ours, PythonTuf(), TufJs(), Tough()]
        # By name, and whether they have roles as in TAP 15.
        self.worlds: dict[tuple[str, bool], World] = {}
        self.server = Server()
        self.results: dict[tuple[str, str], Future[Result]] = {}
        self.scenes: dict[tuple[str, Play, bool], Scene] = {}
        self.locks = {(row.name, succinct): Lock() for row in ATTACKS for succinct in (True, False)}

    def __enter__(self) -> "Matrix":
        self.server.__enter__()
        # Rows that only wait have their own pools, so that they don't delay the others.
        self.pools = {"busy": ThreadPoolExecutor(6), "patient": ThreadPoolExecutor(24), "slow": ThreadPoolExecutor(200)}
        return self

    def __exit__(self, *error: object) -> None:
        for pool in self.pools.values():
            pool.shutdown(cancel_futures=True)
        self.server.__exit__()
        for client in self.clients:
            client.close()

    def run(self, attacks: list[Attack]) -> None:
        known = {(row.world, row.knows_new) for row in attacks}
        shapes = {client.succinct for client in self.clients}
        for world, succinct in sorted(itertools.product({world for world, _ in known}, shapes), reverse=True):
            before = Repository(FOLDERS[world], in_days(SHORT) if world == "short" else None, succinct)
            after = before.fork()
            after.lasts = None
            after.next_root()
            after.publish()
            self.worlds[world, succinct] = World(before, after)
        learned = [self.pools["busy"].submit(self.learn, client, *state) for state in sorted(known, reverse=True) for client in self.clients]
        for made in learned:
            made.result()
        for row in sorted(attacks, key=lambda row: not row.slow):
            for client in self.clients:
                self.results[row.name, client.name] = self.pools[client.pool or ("slow" if row.slow else "busy")].submit(self.play, client, row)

    def known(self, client: Client, world: str, knows_new: bool) -> Path:
        return self.folder / "known" / f"{client.name}-{world}-{'new' if knows_new else 'old'}"

    def root(self, client: Client, world: str) -> Path:
        path = self.folder / f"{world}-{client.succinct}.root.json"
        if not path.exists():
            path.write_bytes(self.worlds[world, client.succinct].before.files["metadata/1.root.json"])
        return path

    def learn(self, client: Client, world: str, knows_new: bool) -> None:
        """Makes a client know a repository, and a role of each kind."""
        folder = self.known(client, world, knows_new)
        (folder / "out").mkdir(parents=True)
        versions = self.worlds[world, client.succinct]
        for repository in (versions.before, versions.after)[: 1 + knows_new]:
            scene = Scene(repository.files)
            url = self.server.show(scene)
            for name in (FIRMWARE, DEEP, SHARED_TARGET):
                outcome = client.run(folder, url, self.root(client, world), name)
                assert outcome.found == repository.content(name), (client.name, world, name, outcome)
            if isinstance(client, PackedDevice):
                asked = [request.path.partition("?")[0] for request in scene.asked]
                assert asked == ["pack"] * 3, f"a pack has all that is needed: {asked}"

    def play(self, client: Client, row: Attack) -> Result:
        world = self.worlds[row.world, client.succinct]
        folder = self.folder / client.name / re.sub(r"\W+", "-", row.name)
        folder.parent.mkdir(exist_ok=True)
        client.copy(self.known(client, row.world, row.knows_new), folder)
        ours = client in self.ours
        before = TuflineDevice.state(folder) if ours else {}
        place = TuflineDevice.out(folder).read_bytes() if ours else b""
        scene = self.scene(row, row.play, client)
        attacked = self._ask(client, row, scene, folder)
        after = TuflineDevice.state(folder) if ours else {}
        places = (place, TuflineDevice.out(folder).read_bytes() if ours else b"")
        complaint = ""
        if ours and row.check:
            try:
                row.check(world, scene, folder, attacked)
            except AssertionError as error:
                complaint = str(error)
        recovered = ending = None
        if ours or attacked.seconds < 2:
            ending = self.scene(row, row.recovery, client)
            recovered = self._ask(client, row, ending, folder)
        return Result(attacked, recovered, scene, ending, before, after, places, folder, world, complaint)

    def scene(self, row: Attack, play: Play, client: Client) -> Scene:
        """A scene for one client. It is made once for all clients of a kind, since that takes
        longer than most updates."""
        key = row.name, play, client.succinct
        with self.locks[row.name, client.succinct]:
            if key not in self.scenes:
                self.scenes[key] = play(self.worlds[row.world, client.succinct])
        made = self.scenes[key]
        return Scene(made.files, made.answers, expected=made.expected)

    def _ask(self, client: Client, row: Attack, scene: Scene, folder: Path) -> Outcome:
        url = self.server.show(scene)
        try:
            return client.run(folder, url, self.root(client, row.world), row.target)
        finally:
            scene.over.set()

    def verdict(self, row: Attack, client: Client) -> str:
        """The result of a client, in a few words."""
        result = self.results[row.name, client.name].result()
        outcome = result.attacked
        did = what(outcome, result.scene)
        if outcome.found == result.world.before.content(row.target) != result.scene.expected:
            did = "stays at the old"
        if outcome.hangs:
            did = f"**hangs** (more than {client.seconds:.0f} s)"
        elif outcome.status < 0:
            did = f"**dies** of signal {-outcome.status}"
        if outcome.kib > client.kib:
            did += f", takes **{outcome.kib // MIB} MiB**"
        if result.recovered and not (result.recovered.found == result.ending.expected):
            did += ", is **stuck** then"
        return did


def what(outcome: Outcome, scene: Scene) -> str:
    match outcome.found:
        case None:
            return REFUSED
        case []:
            return NO_TARGET
        case bytes() as data:
            return TAKEN if data == scene.expected else "takes **other bytes**"


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The selected rows, which are running."""
    items = [item for item in request.session.items if "matrix" in item.fixturenames and hasattr(item, "callspec")]
    chosen = list({item.callspec.params["row"].name: item.callspec.params["row"] for item in items}.values())
    with Matrix(tmp_path_factory.mktemp("attacks")) as matrix:
        matrix.run(chosen)
        yield matrix
        tell(matrix, chosen, request.config.get_terminal_writer().line)


def tell(matrix: Matrix, rows: list[Attack], line) -> None:
    """Prints the table, and writes it to the file, if one is given."""
    names = [client.name for client in matrix.clients]
    table = [["kind", "attack", *names]]
    for row in sorted(rows, key=lambda row: (row.kind == "control", row.kind)):
        table.append([row.kind, row.name, *(matrix.verdict(row, client) for client in matrix.clients)])
    if path := os.environ.get("TUFLINE_WRITE_MATRIX"):
        cells = [[cell.replace("|", "\\|") for cell in cells] for cells in table]
        cells.insert(1, ["---"] * len(table[0]))
        Path(path).write_text("".join(f"| {' | '.join(row)} |\n" for row in cells))
    widths = [max(len(row[column].replace("*", "")) for row in table) for column in range(len(table[0]))]
    line()
    for row in table:
        line("  ".join(cell.replace("*", "").ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def stored_on_the_way(row: Attack, result: Result) -> dict[str, bytes]:
    """The required state of a device after a refusal: its earlier state, and the files that it
    verified before the refused one."""
    if row.stored:
        files = {name: result.scene.files.get(path) for name, path in row.stored if path != "old"}
        return {**result.before, **files}
    repository, files = result.world.after, result.scene.files
    state = dict(result.before)
    before = ("root", "timestamp", "snapshot", "targets", BIN)
    for stage in before[: before.index(row.stage)] if row.stage in before else before:
        # A hostile repository may have another version of a file than the honest one.
        if (path := repository.path(stage)) in files:
            state[f"{stage}.json"] = files[path]
    return state


def expected_in_line(row: Attack, result: Result) -> str:
    if row.says:
        return row.says
    if row.stage == "target":
        return row.target
    return "timestamp.json" if row.stage == "timestamp" else f"{row.stage}.json"


@pytest.mark.parametrize("row", ATTACKS, ids=[row.name for row in ATTACKS])
def test_tufline_device(matrix: Matrix, row: Attack) -> None:
    expect(matrix, row, matrix.ours[0])


@pytest.mark.parametrize("row", ATTACKS, ids=[row.name for row in ATTACKS])
def test_packs(matrix: Matrix, row: Attack) -> None:
    """A pack does nothing that the same server couldn't do by names."""
    expect(matrix, row, matrix.ours[1])
    scene = matrix.results[row.name, matrix.ours[1].name].result().scene
    assert scene.asked[0].path.startswith("pack?have="), scene.asked


def expect(matrix: Matrix, row: Attack, client: Client) -> None:
    result = matrix.results[row.name, client.name].result()
    weakness = WEAKNESSES.get(row.name)
    try:
        judge(row, result)
    except AssertionError as error:
        if weakness:
            pytest.xfail(f"{weakness}: {error}")
        raise
    assert not weakness, f"it does what it must, so this is no weakness any more: {weakness}"


def judge(row: Attack, result: Result) -> None:
    outcome = result.attacked
    assert not outcome.hangs, f"it takes more than {TuflineDevice.seconds} s"
    assert outcome.status in (0, 1), f"it ends with {outcome.status}: {outcome.says}"
    assert outcome.kib <= TuflineDevice.kib, f"it takes {outcome.kib // MIB} MiB"
    assert what(outcome, result.scene) == row.expected, outcome.says
    assert not result.complaint, result.complaint
    if row.expected == REFUSED:
        # After a line that says that the pack failed, if it did.
        assert re.fullmatch(r"(tufline-device: the pack could not be used [^\n]+\n)?tufline-device: [^\n]+\n", outcome.says), outcome.says
        assert all(line.isprintable() for line in outcome.says.splitlines()), outcome.says
        assert expected_in_line(row, result) in outcome.says, outcome.says
        assert result.places[1] == result.places[0], "the target that was there is another"
        state = stored_on_the_way(row, result)
        differ = sorted(name for name in state.keys() | result.after.keys() if state.get(name) != result.after.get(name))
        assert not differ, f"it stores other than it should: {differ}; it says {outcome.says}"
    recovered = result.recovered
    assert recovered.found == result.ending.expected, f"the attack is over, and it is stuck: {recovered.says}"
