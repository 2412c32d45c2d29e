"""Packs that contradict what the same server says by name: a device ends where names alone lead,
and fetches by name what was wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .attack_clients import PackedDevice, TuflineDevice
from .attack_repository import FIRMWARE, Repository
from .attack_server import Scene, Server
from .attacks import BIN, World

pytestmark = pytest.mark.folder

Lie = Callable[[World, str], bytes | None]
LIES: dict[str, Lie] = {
    "is changed": lambda world, path: world.after.files[path][:-100] + b"~" + world.after.files[path][-99:],
    "is nothing": lambda world, path: b"",
    "is another": lambda world, path: world.after.files[world.after.path("party")],
    "is missing": lambda world, path: None,
}
STAGES = ("root", "timestamp", "snapshot", "targets", BIN, "target")


@pytest.fixture(scope="module")
def world() -> World:
    """The timestamp's key was replaced, so an update needs the new root."""
    before = Repository("bare")
    after = before.fork()
    after.replace_key("timestamp")
    after.publish()
    return World(before, after)


@pytest.fixture(scope="module")
def devices() -> Iterator[list[TuflineDevice]]:
    devices = [PackedDevice(), TuflineDevice()]
    yield devices
    for device in devices:
        device.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("lie", LIES)
def test_what_is_wrong_in_a_pack_comes_by_name(world: World, devices: list[TuflineDevice], server: Server, stage: str, lie: str, tmp_path: Path):
    root = tmp_path / "root.json"
    root.write_bytes(world.before.files["metadata/1.root.json"])
    path, states, asked = world.path(stage), [], []
    for device in devices:
        folder = tmp_path / device.name
        (folder / "out").mkdir(parents=True)
        scene = Scene(world.after.files, packed={path: LIES[lie](world, path)})
        for shown, repository in ((Scene(world.before.files), world.before), (scene, world.after)):
            outcome = device.run(folder, server.show(shown), root, FIRMWARE)
            assert outcome.found == repository.content(FIRMWARE), outcome.says
        states.append(device.state(folder))
        asked.append([request.path.partition("?")[0] for request in scene.asked])
    assert states[0] == states[1]
    assert asked[0][0] == "pack" and path in asked[0] and "pack" not in asked[1], asked
