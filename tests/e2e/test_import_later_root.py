"""`tufline import` of a repository whose first root is missing or can't be verified. The new
repository begins with the root that the operator trusts."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from .device import Device, sha256
from .foreign import ForeignRepository, in_days
from .form import DONE, one_line_error, run
from .importing import FieldDevice, Import
from .static_server import StaticServer
from .tuf_js import TufJsDevice

FILES = {"fw.bin": b"one" * 1000, "gateway/v2/fw.bin": b"two" * 2000}
TRUSTED = 15


def unsigned(metadata: Path) -> None:
    document = json.loads((metadata / "1.root.json").read_text())
    document["signatures"] = []
    (metadata / "1.root.json").write_text(json.dumps(document))


def of_old(metadata: Path) -> None:
    """Gives roots a scheme that no client verifies any more, and that nobody would sign again."""
    document = json.loads((metadata / "1.root.json").read_text())
    for entry in document["signed"]["keys"].values():
        entry["scheme"] = "ed25519-sha1-of-old"
    (metadata / "1.root.json").write_text(json.dumps(document))


def gone(metadata: Path) -> None:
    for version in (1, 4):
        (metadata / f"{version}.root.json").unlink()


class Later(Import):
    """An import whose operator trusts version 15."""

    def __init__(self, folder: Path, foreign: ForeignRepository, form, breaks: Callable[[Path], None]) -> None:
        super().__init__(folder, foreign, form)
        foreign.replace_key("timestamp")
        while foreign.root.version < TRUSTED:
            foreign.next_root()
        foreign.publish(FILES, by=7)
        self.roots = {version: (foreign.metadata / f"{version}.root.json").read_bytes() for version in range(1, TRUSTED + 1)}
        breaks(foreign.metadata)
        self.trusted = self.kept(TRUSTED)
        self.next = folder / f"{TRUSTED + 1}.root.json"
        self.trust = ["--root", self.trusted]

    def kept(self, version: int) -> Path:
        """A root as a person who trusts it keeps it."""
        path = self.folder / f"kept-{version}.json"
        path.write_bytes(self.roots[version])
        return path

    def root(self, command: str, *arguments: object) -> None:
        done = run("root", command, *arguments, cwd=self.folder)
        assert done.returncode == DONE, done.stderr

    def publish_next(self, version: int) -> None:
        self.root("next", *self.place)
        path = self.folder / f"{version}.root.json"
        self.sign(path=path)
        self.root("show", path, *self.place)
        self.root("publish", path, *self.place)


@pytest.fixture
def take(tmp_path: Path, make_folder) -> Callable[..., Later]:
    def make(breaks: Callable[[Path], None] = unsigned) -> Later:
        people = tmp_path / "people"
        people.mkdir()
        return Later(people, ForeignRepository(tmp_path / "foreign"), make_folder(), breaks)

    return make


def moved_over(moved: Later) -> None:
    moved.done(*moved.trust)
    moved.sign()
    moved.done(*moved.trust, "--next-root", moved.next)


@pytest.mark.parametrize("breaks", [unsigned, of_old, gone])
def test_the_repositorys_devices_follow_the_move(take, tmp_path: Path, breaks: Callable[[Path], None]):
    moved: Later = take(breaks)
    foreign, form = moved.foreign, moved.form
    there = {path.name: path.read_bytes() for path in foreign.metadata.glob("*.root.json")}
    # Devices that know the trusted root, the one before it, and the oldest from which all later
    # roots follow.
    oldest = 5 if breaks is gone else 2
    devices = {}
    for kind, version in [(Device, TRUSTED), (TufJsDevice, TRUSTED), (Device, TRUSTED - 1), (Device, oldest), (TufJsDevice, oldest)]:
        devices[kind, version] = FieldDevice(kind, tmp_path / f"{kind.__name__}-{version}", moved.kept(version))
    expected = {name: sha256(data) for name, data in FILES.items()}
    with StaticServer(foreign.folder) as server:
        urls = f"{server.url}metadata/", f"{server.url}targets/"
        for device in devices.values():
            assert device.at(*urls).find(FILES) == expected
        # Without a root that verifies, the message says what to do. With one, the roots before it
        # are only reported.
        moved.refused("name a root that your devices trust")
        done = moved.run(*moved.trust, source=urls[0])
        assert done.returncode == DONE, done.stderr
    assert f"{oldest - 1}.root.json there leads devices nowhere" in done.stderr, done.stderr
    if breaks is gone:
        assert "it is missing" in done.stderr and "these earlier roots are missing there too: 1\n" in done.stderr, done.stderr
    moved.sign()
    before = moved.kept(TRUSTED - 1)
    moved.refused(f"is version {TRUSTED - 1}, but the new repository's chain of roots would begin with version {TRUSTED}", "--root", before, "--next-root", moved.next)
    moved.done(*moved.trust, "--next-root", moved.next)

    metadata = form.data / "repository" / "metadata"
    assert {path.name: path.read_bytes() for path in metadata.glob("*.root.json")} == there | {moved.next.name: moved.next.read_bytes()}
    contents = json.loads(run("root", "show", moved.trusted, "--json").stdout)["contents"]
    assert f'trusted_root = "{TRUSTED}:{contents}"' in (form.data / "config.toml").read_text()
    form.start()
    assert Path(form.endpoints["trusted_root"]).read_bytes() == moved.roots[TRUSTED]
    form.put("new.bin", b"uploaded here")
    expected["new.bin"] = sha256(b"uploaded here")
    urls = form.endpoints["metadata_url"], form.endpoints["targets_url"]
    form.wait_published(expected, device=devices[Device, TRUSTED].at(*urls))
    moved.publish_next(TRUSTED + 2)
    form.put("fw.bin", b"changed here")
    expected["fw.bin"] = sha256(b"changed here")
    form.wait_published(expected, device=devices[Device, TRUSTED].at(*urls))
    for device in devices.values():
        client = device.at(*urls)
        assert client.find(expected) == expected
        assert client.download_bytes("gateway/v2/fw.bin") == FILES["gateway/v2/fw.bin"]
    for version in (TRUSTED, TRUSTED - 1, oldest):
        assert devices[Device, version].client.update()._trusted_set.root.version == TRUSTED + 2
    # Tufline's own commands, and another start.
    form.wait_tough("new.bin", expected["new.bin"])
    for command in ("status", "reconcile"):
        assert form.tufline(command).returncode == DONE
    form.stop()
    form.start()
    form.put("new.bin", b"after")
    form.wait_published({"new.bin": sha256(b"after")}, device=devices[Device, oldest].at(*urls))


def test_files_that_are_no_roots_are_not_published(take):
    moved: Later = take()
    secret = moved.folder / "secret"
    secret.write_text("root:x:0:0\n")
    metadata = moved.foreign.metadata
    for version, replace in [(3, lambda path: path.symlink_to(secret)), (4, os.mkfifo), (5, lambda path: path.write_text('{"signed": {"_type": "targets"}}'))]:
        (metadata / f"{version}.root.json").unlink()
        replace(metadata / f"{version}.root.json")
    moved_over(moved)
    there = {path.name for path in (moved.form.data / "repository" / "metadata").glob("*.root.json")}
    assert there == {f"{version}.root.json" for version in range(1, TRUSTED + 2) if version not in (3, 4, 5)}


def test_other_roots_before_it_do_no_harm_and_one_in_its_place_is_refused(take, tmp_path: Path):
    moved: Later = take()
    form = moved.form
    moved_over(moved)
    metadata = form.data / "repository" / "metadata"
    first = metadata / f"{TRUSTED}.root.json"
    form.start()
    device = FieldDevice(Device, tmp_path / "device", moved.trusted).at(form.endpoints["metadata_url"], form.endpoints["targets_url"])
    device.update()
    form.stop()

    # Another repository's root, which verifies by itself; an invalid root; and no root.
    stranger = ForeignRepository(tmp_path / "stranger")
    (metadata / "1.root.json").write_bytes((stranger.metadata / "1.root.json").read_bytes())
    (metadata / "3.root.json").write_bytes(b"{}")
    (metadata / "14.root.json").unlink()
    form.start()
    form.put("new.bin", b"1")
    form.wait_published({"new.bin": sha256(b"1")}, device=device)
    moved.publish_next(TRUSTED + 2)
    assert device.update()._trusted_set.root.version == TRUSTED + 2
    status = form.tufline("status", "--json", operator=True)
    assert status.returncode == DONE and json.loads(status.stdout)["ignored_roots"] == []
    form.stop()

    # Another root in the trusted one's place, signed by the trusted root's own holders.
    other = Metadata[Root].from_bytes(moved.roots[TRUSTED])
    other.signed.expires = in_days(20)
    other.signatures.clear()
    for signer in moved.foreign.keys[Root.type]:
        other.sign(signer, append=True)
    config, copied = form.data / "config.toml", (form.data / "root.json").read_bytes()
    written = config.read_text()
    for text in (written, ""):  # the copy in root.json says it too
        config.write_text(text)
        first.write_bytes(other.to_bytes())
        why = f"metadata/{TRUSTED}.root.json is not the root that this repository trusts"
        assert why in one_line_error(run(*form.command()[1:]))
        assert why in one_line_error(run("root", "next", *moved.place, "--out", moved.folder / "x.json"))
        first.unlink()
        assert f"metadata/{TRUSTED}.root.json is missing: restore it" in one_line_error(run(*form.command()[1:]))
        shutil.copy(form.data / "root.json", first)
        assert (form.data / "root.json").read_bytes() == copied
        form.start()
        form.put("new.bin", text.encode() + b"2")
        form.wait_published({"new.bin": sha256(text.encode() + b"2")}, device=device)
        form.stop()
