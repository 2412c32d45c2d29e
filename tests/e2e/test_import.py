"""`tufline import`: devices that trust another tool's repository continue with this one, without a
change."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from .device import Device, sha256
from .foreign import ForeignRepository, in_days
from .form import DONE, TUFLINE, one_line_error, run
from .importing import FieldDevice, Import
from .polling import until
from .static_server import StaticServer
from .tuf_js import TufJsDevice

FILES = {"fw.bin": b"one" * 1000, "gateway/v2/fw.bin": b"two" * 2000, "empty.bin": b""}


@pytest.fixture
def take(tmp_path: Path, make_folder) -> Callable[..., Import]:
    """Makes another tool's repository, and a person who takes it over."""

    def make(publish: bool = True, **options) -> Import:
        foreign = ForeignRepository(tmp_path / "foreign", **options)
        foreign.customs["fw.bin"] = {"version": "2.0.1", "board": [1, 2]}
        if publish:
            foreign.publish(FILES, by=7)
        people = tmp_path / "people"
        people.mkdir()
        return Import(people, foreign, make_folder())

    return make


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="python-tuf"),
        # Roles with the names of Tufline's bins, current and from unreleased versions.
        pytest.param({"bins": 16}, id="python-tuf-bins"),
        pytest.param({"bins": 16, "bin_prefix": ""}, id="bins-named-by-digits"),
        pytest.param({"tuftool_names": True}, id="tuftool"),
        pytest.param({"consistent": False}, id="not-consistent"),
        pytest.param({"consistent": False, "flat": True, "hashes": ("sha256", "sha512")}, id="go-tuf"),
    ],
)
def test_devices_in_the_field_follow(take, tmp_path: Path, options: dict):
    moved: Import = take(**options)
    foreign, form = moved.foreign, moved.form
    devices = [FieldDevice(kind, tmp_path / kind.__name__, moved.trusted) for kind in (Device, TufJsDevice)]
    # Only tough finds targets in a folder at the paths that tuftool uses.
    spelt = [] if options.get("tuftool_names") else ["gateway/v2/fw.bin"]
    with StaticServer(foreign.folder) as server:
        for device in devices:
            client = device.at(f"{server.url}{'' if options.get('flat') else 'metadata/'}", f"{server.url}targets/")
            assert client.find(FILES) == {name: sha256(data) for name, data in FILES.items()}
            for name in spelt:
                assert client.download_bytes(name) == FILES[name]
    if options.get("bins"):
        # A chain of more than one root.
        foreign.replace_key("timestamp")
        moved.next = moved.folder / f"{foreign.root.version + 1}.root.json"
    moved.ceremony()

    if options.get("bins"):
        config = form.data / "config.toml"
        config.write_text(re.sub("(?m)^#* *max_targets_per_bin.*", "max_targets_per_bin = 2", config.read_text()))
    form.start()
    new = {**FILES, "new.bin": b"uploaded here", "fw.bin": b"changed here"}
    form.put("new.bin", new["new.bin"])
    form.put("fw.bin", new["fw.bin"], custom='{"version": "3"}')
    form.wait_published({name: sha256(data) for name, data in new.items()})
    urls = form.endpoints["metadata_url"], form.endpoints["targets_url"]
    assert len(form.published_roles()) >= (17 if options.get("bins") else 1)
    for device in devices:
        client = device.at(*urls)
        for name, data in new.items():
            assert client.download_bytes(name) == data
    # All versions are higher than before.
    timestamp, generation = form.signed("timestamp.json"), form.published_generation()
    assert timestamp["version"] > foreign.versions["timestamp"]
    assert generation > foreign.versions["snapshot"]
    highest = foreign.versions["targets"] + (foreign.bins - 1 if foreign.bins else 0)
    assert all(int(file.partition(".")[0]) > highest for file in form.published_roles().values())
    # tough reads all roots from the first, and Tufline's own commands work.
    form.wait_tough("new.bin", sha256(new["new.bin"]))
    # The uploads are what the repository had: a check of all of them changes nothing.
    done = form.tufline("reconcile")
    assert done.returncode == DONE, done.stderr
    form.remove("empty.bin")
    form.wait_published({name: sha256(data) for name, data in new.items() if name != "empty.bin"} | {"empty.bin": None})


@pytest.mark.parametrize("between", ["copied", "uploads removed"])
def test_an_unfinished_import_may_be_copied_between_the_steps(take, between: str):
    moved: Import = take()
    moved.done()
    moved.sign()
    data = moved.form.data
    if between == "copied":
        subprocess.run(["cp", "-r", data, data.with_name("copy")], check=True)
        shutil.rmtree(data)
        data.with_name("copy").rename(data)
    else:
        (data / "uploads").rmdir()
    moved.done("--next-root", moved.next)
    moved.form.start()
    moved.form.wait_published({name: sha256(content) for name, content in FILES.items()})
    assert not moved.form.troubles()



def test_custom_metadata_and_numbers_are_kept(take):
    moved: Import = take()
    said = json.loads(moved.done("--json"))
    assert said == {"outcome": "proposed", "version": 2}
    moved.sign()
    said = json.loads(moved.done("--next-root", moved.next, "--json"))
    assert said == {"outcome": "imported", "generation": 8, "targets": 3}
    form = moved.form
    metadata = form.data / "repository" / "metadata"
    assert sorted(path.name for path in metadata.iterdir()) == [
        "1.root.json", "2.root.json", "8.snapshot.json", "9.targets.json", "timestamp.json",
    ]
    assert json.loads((metadata / "timestamp.json").read_text())["signed"]["version"] == 8
    assert (metadata / "1.root.json").read_bytes() == (moved.foreign.metadata / "1.root.json").read_bytes()
    form.start()
    device = form.device()
    assert device.custom("fw.bin") == {"version": "2.0.1", "board": [1, 2]}
    # Every upload is announced, once `tufline local` has checked them; nothing needed a new
    # signature for that.
    until("told", lambda: all(form.told(FILES).values()))
    assert form.published_generation() == 8
    assert form.tufline("status").returncode == DONE


def test_the_holders_go_on_with_tufline(take):
    """The root after the import is made, signed and published like any other."""
    moved: Import = take()
    moved.ceremony()
    form = moved.form.start()
    device = Device({**form.endpoints, "trusted_root": str(moved.trusted)}, moved.folder)
    device.update()
    done = run("root", "next", *moved.place, cwd=moved.folder)
    assert done.returncode == DONE, done.stderr
    third = moved.folder / "3.root.json"
    moved.sign(path=third)
    done = run("root", "publish", third, *moved.place)
    assert done.returncode == DONE, done.stderr
    assert device.update()._trusted_set.root.version == 3
    assert device.download_bytes("fw.bin") == FILES["fw.bin"]


@pytest.mark.slow
def test_two_thousand_targets_and_kills(take):
    """In tuftool's layout. Whenever the import is killed, the next run continues, and `tufline
    local` refuses to start before the import is complete."""
    contents = {f"line-{number % 7}/module-{number}.bin": f"{number}".encode() * 50 for number in range(2000)}
    moved: Import = take(publish=False, tuftool_names=True)
    moved.foreign.publish(contents, by=41)
    with StaticServer(moved.foreign.folder) as server:
        source = f"{server.url}metadata/"
        trusted = ["--root", moved.trusted]
        moved.done(*trusted, source=source)
        moved.sign()
        kills = 0
        for attempt in range(30):
            arguments = ["import", source, *moved.place, *trusted, "--next-root", moved.next]
            command = [str(TUFLINE), *map(str, arguments)]
            process = subprocess.Popen(command, cwd=moved.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.4 + attempt * 0.2)
            if process.poll() is not None:
                assert process.returncode == DONE
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            error = one_line_error(run("local", *moved.place, "--listen", moved.form.listen))
            assert "is not finished" in error
        else:
            moved.done(*trusted, "--next-root", moved.next, source=source)
        assert kills > 2
    form = moved.form.start()
    expected = {name: sha256(data) for name, data in contents.items()}
    assert form.listed() == expected.keys()
    # More targets than one role may list, so there are bins.
    assert len(form.published_roles()) == 17
    device = Device({**form.endpoints, "trusted_root": str(moved.trusted)}, moved.folder)
    assert device.find(expected) == expected
    form.put("new.bin", b"new")
    form.wait_published({"new.bin": sha256(b"new"), **dict(list(expected.items())[:20])}, device=device)
    assert device.download_bytes("line-3/module-3.bin") == contents["line-3/module-3.bin"]
    assert device.download_bytes("new.bin") == b"new"


def test_refused_before_the_ceremony(take, tmp_path: Path):
    moved: Import = take()
    foreign = moved.foreign
    # Not a repository, or nothing that proves that it is one.
    moved.refused("no timestamp.json", source=tmp_path / "people")
    with StaticServer(foreign.folder) as server:
        moved.refused("--root", source=f"{server.url}metadata/")
    stranger = ForeignRepository(tmp_path / "stranger")
    moved.refused("cannot update", "--root", stranger.metadata / "1.root.json")
    foreign.publish(expires=in_days(-1))
    moved.refused("expired")
    # Signed by somebody else.
    keys = foreign.keys["snapshot"]
    foreign.keys["snapshot"] = [CryptoSigner.generate_ed25519()]
    foreign.publish()
    moved.refused("cannot update")
    foreign.keys["snapshot"] = keys
    # Names, custom metadata and versions that Tufline can't continue with.
    foreign.publish({"with space.bin": b"x"})
    moved.refused("the character ' '")
    del foreign.contents["with space.bin"]
    foreign.customs["fw.bin"] = {"text": "x" * 3000}
    foreign.publish()
    moved.refused("fw.bin can't be kept")
    foreign.customs.clear()
    foreign.publish(by=2**52)
    moved.refused("leaves no higher versions")
    assert not moved.form.data.exists()
    assert not list(moved.folder.glob("2.root.json"))


def test_refused_roots(take, tmp_path: Path):
    moved: Import = take()
    nobody = moved.folder / "unsigned.root.json"
    moved.refused("is not prepared", "--next-root", moved.trusted)
    moved.done()
    shutil.copy(moved.next, nobody)
    moved.refused("is there already")
    moved.refused("1 more needed", "--next-root", nobody)
    moved.refused("the next one is 2", "--next-root", moved.trusted)

    def edited(edit: Callable[[Root], None]) -> Path:
        metadata = Metadata[Root].from_file(str(moved.next))
        edit(metadata.signed)
        path = moved.folder / "edited.root.json"
        metadata.to_file(str(path))
        return path

    stranger = CryptoSigner.generate_ed25519()
    path = edited(lambda root: None)
    moved.sign(stranger, path=path)
    moved.refused("1 more needed", "--next-root", path)
    path = edited(lambda root: setattr(root, "version", 3))
    moved.sign(path=path)
    moved.refused("it is version 3, and the next one is 2", "--next-root", path)
    path = edited(lambda root: setattr(root, "expires", in_days(-1)))
    moved.sign(path=path)
    moved.refused("expired", "--next-root", path)

    def replace_snapshot_key(root: Root) -> None:
        (old,) = root.roles["snapshot"].keyids
        root.add_key(stranger.public_key, "snapshot")
        root.revoke_key(old, "snapshot")

    path = edited(replace_snapshot_key)
    moved.sign(path=path)
    moved.refused("does not trust this repository's snapshot key", "--next-root", path)

    # Targets that differ from their listing end the import, and nothing is published.
    target = moved.foreign.target_path("fw.bin", FILES["fw.bin"])
    target.write_bytes(b"eno" * 1000)
    moved.sign()
    error = one_line_error(moved.run("--next-root", moved.next))
    assert "sha256 differs" in error
    assert not list(moved.form.data.glob("repository/metadata/*"))
    target.write_bytes(FILES["fw.bin"])
    (moved.form.data / "uploads" / "stranger.bin").write_bytes(b"?")
    assert "the uploads have stranger.bin" in one_line_error(moved.run("--next-root", moved.next))
    (moved.form.data / "uploads" / "stranger.bin").unlink()
    moved.done("--next-root", moved.next)
    moved.refused("is there already: import into a new folder", "--next-root", moved.next)


def at(*path: object, value: object = ...) -> Callable[[dict], None]:
    """Sets a field, or removes it. `KEY` stands for the timestamp's key."""

    def edit(document: dict) -> None:
        *way, last = [document["signed"]["roles"]["timestamp"]["keyids"][0] if part == "KEY" else part for part in path]
        for part in way:
            document = document[part]
        if value is ...:
            del document[last]
        else:
            document[last] = value

    return edit


def renamed(new: str) -> Callable[[dict], None]:
    """Puts the timestamp's key under another id."""

    def edit(document: dict) -> None:
        signed = document["signed"]
        [old] = signed["roles"]["timestamp"]["keyids"]
        signed["keys"][new] = signed["keys"].pop(old)
        signed["roles"]["timestamp"]["keyids"] = [new]

    return edit


OTHER = {"keyids": [], "threshold": 1}
# A fault in a root, and the name of the field in the message.
UNFIT = {
    "extra-role": (at("signed", "roles", "mirrors", value=OTHER), "its signed.roles.mirrors is a role besides root"),
    "type": (at("signed", "_type", value="targets"), 'its signed._type is "targets", where "root" must be'),
    "type-in-capitals": (at("signed", "_type", value="Root"), "its signed._type is"),
    "no-type": (at("signed", "_type"), "its signed._type is missing"),
    "unknown-key-type": (at("signed", "keys", "KEY", "keytype", value="dilithium"), 'signed.keys.{key} is a key with keytype "dilithium"'),
    "unknown-scheme": (at("signed", "keys", "KEY", "scheme", value="dilithium2"), 'scheme "dilithium2"'),
    "no-public-part": (at("signed", "keys", "KEY", "keyval"), "signed.keys.{key} is a key with"),
    "public-part-of-junk": (at("signed", "keys", "KEY", "keyval", "public", value="junk"), 'public part "junk"'),
    "no-key-type": (at("signed", "keys", "KEY", "keytype"), "its signed.keys.{key}.keytype is missing"),
    "year-10000": (at("signed", "expires", value="10000-01-01T00:00:00Z"), 'its signed.expires is "10000-01-01T00:00:00Z", where a time such as 2030-01-02T03:04:05Z, of the year 9999 at most, must be'),
    "fraction": (at("signed", "expires", value="2040-01-01T00:00:00.5Z"), 'its signed.expires is "2040-01-01T00:00:00.5Z"'),
    "offset": (at("signed", "expires", value="2040-01-01T00:00:00+01:00"), "write \"2039-12-31T23:00:00Z\""),
    "expires-a-number": (at("signed", "expires", value=5), "its signed.expires is 5"),
    "past": (at("signed", "expires", value="2020-01-01T00:00:00Z"), "its signed.expires"),
    "bad-keyid": (renamed("zz"), "its signed.keys.zz has a key id that is not"),
    "keyid-in-capitals": (renamed("AB" * 32), f"keys.{'AB' * 32} has"),
    "wrong-keyid": (renamed("ab" * 32), "the key abab abab abab abab abab abab… cannot be used: its id is not the SHA-256"),
    "keyid-a-number": (at("signed", "roles", "timestamp", "keyids", value=[5]), "its signed.roles.timestamp.keyids.0 is 5"),
    "keyid-of-no-key": (at("signed", "roles", "timestamp", "keyids", value=["ab" * 32]), "signed.roles.timestamp.keyids"),
    "no-keyids": (at("signed", "roles", "timestamp", "keyids", value=[]), "signed.roles.timestamp.keyids"),
    "no-role": (at("signed", "roles", "timestamp"), "signed.roles.timestamp.keyids"),
    "threshold-0": (at("signed", "roles", "timestamp", "threshold", value=0), "its signed.roles.timestamp.threshold is 0"),
    "threshold-half": (at("signed", "roles", "timestamp", "threshold", value=1.5), "roles.timestamp.threshold: 1.5 is a number with a fraction"),
    "threshold-2": (at("signed", "roles", "timestamp", "threshold", value=2), "its signed.roles.timestamp.threshold is at least"),
    "no-threshold": (at("signed", "roles", "timestamp", "threshold"), "its signed.roles.timestamp.threshold is missing"),
    "consistent-null": (at("signed", "consistent_snapshot", value=None), "its signed.consistent_snapshot is null"),
    "consistent-missing": (at("signed", "consistent_snapshot"), "its signed.consistent_snapshot is missing"),
    "consistent-text": (at("signed", "consistent_snapshot", value="true"), "its signed.consistent_snapshot is"),
    "version-0": (at("signed", "version", value=0), "its signed.version is 0"),
    "version-a-text": (at("signed", "version", value="2"), 'its signed.version is "2"'),
    "no-spec-version": (at("signed", "spec_version"), "its signed.spec_version is missing"),
    "spec-version-2": (at("signed", "spec_version", value="2.0.0"), "spec_version is"),
    "keys-a-list": (at("signed", "keys", value=[]), "its signed.keys is a list"),
    "roles-a-list": (at("signed", "roles", value=[]), "its signed.roles is a list"),
    "signature-of-junk": (at("signatures", value=[{"keyid": "ab", "sig": "zz"}]), "its signatures.0.sig is invalid"),
    "signature-of-nobody": (at("signatures", value=[{"keyid": "zz", "sig": "00"}]), "its signatures.0.keyid is invalid"),
    "signature-in-capitals": (at("signatures", value=[{"keyid": "AB", "sig": "00"}]), "signatures.0.keyid has"),
    "no-signature": (at("signatures", value=[{"keyid": "ab"}]), "its signatures.0.sig is missing"),
    "no-signatures": (at("signatures"), "its signatures is missing"),
    "nothing-signed": (at("signed"), "its signed is missing"),
}


def test_each_refusal_of_a_root_names_the_field(take):
    moved: Import = take()
    moved.done()
    path = moved.folder / "edited.json"
    shutil.copy(moved.foreign.metadata / "1.root.json", moved.folder / "1.root.json")
    for what, (edit, why) in UNFIT.items():
        document = json.loads(moved.next.read_text())
        [key] = document["signed"]["roles"]["timestamp"]["keyids"]
        edit(document)
        path.write_text(json.dumps(document))
        commands = [moved.run("--next-root", path)]
        # For an unsigned root, these say only that it is unsigned.
        if what not in ("past", "wrong-keyid"):
            commands += [run("root", "show", path), run("root", "publish", path, *moved.place)]
        for done in commands:
            error = one_line_error(done)
            assert why.replace("{key}", key) in error and "edited.json" in error, (what, error)
    # All clients but one read escapes.
    path.write_text(moved.next.read_text().replace('"expires": "20', '"expires": "\\u00320'))
    error = one_line_error(moved.run("--next-root", path))
    assert "its signed.expires is written with escapes" in error, error


def test_a_repository_that_is_there_is_left_alone(take):
    moved: Import = take()
    moved.form.start()
    moved.form.stop()
    moved.refused("is there already: import into a new folder")


def test_the_other_repository_must_stand_still(take):
    """Publications of the old repository after the move began would be lost, and devices would have
    seen higher versions."""
    moved: Import = take()
    moved.done()
    moved.sign()
    # A run that was killed before its timestamp.
    moved.done("--next-root", moved.next)
    (moved.form.data / "import").write_bytes(b"")
    (moved.form.data / "repository" / "metadata" / "timestamp.json").unlink()
    (moved.form.data / "ledger" / "announced.json").unlink()
    moved.foreign.publish()
    error = one_line_error(moved.run("--next-root", moved.next))
    assert "has changed since the last run" in error
