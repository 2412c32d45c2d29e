"""The runbooks of docs/keys.md and docs/online-keys.md, with real clients and a thief who really has the keys."""

import copy
from pathlib import Path

import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from .ceremony import Ceremony
from .device import Device, sha256
from .holders import Holder
from .polling import until
from .rotation import Rotation, replace
from .thief import Thief, accepts
from .tuf_js import TufJsError

pytestmark = pytest.mark.slow

# The highest version that a thief may sign: without recovery, devices would wait for it forever.
FAR = 2**31 - 1
NAME = "drill"


def begin(ceremony: Ceremony) -> None:
    ceremony.first()
    ceremony.form.put(NAME, b"1")
    ceremony.form.wait_published({NAME: sha256(b"1")})


def goes_on(ceremony: Ceremony, data: bytes, *devices) -> None:
    """Checks that a new upload is published, and that these devices and a new one verify it."""
    ceremony.form.put(NAME, data)
    ceremony.form.wait_published({NAME: sha256(data)})
    for device in devices:
        assert device.find([NAME]) == {NAME: sha256(data)}
    ceremony.form.wait_tough(NAME, sha256(data))


def test_one_root_key_is_lost(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    begin(ceremony)
    device, tuf_js = ceremony.form.device(), ceremony.form.tuf_js_device()
    device.update()
    ceremony.alice.pem.unlink()
    ceremony.done("next", *ceremony.place)
    ceremony.done("add-key", "2.root.json", *ceremony.dave.key)
    ceremony.done("remove-key", "2.root.json", "alice")
    ceremony.sign("2.root.json", ceremony.bob, ceremony.carol)
    ceremony.publish("2.root.json")
    goes_on(ceremony, b"2", device, tuf_js)
    # The new holder counts.
    ceremony.done("next", *ceremony.place)
    ceremony.sign("3.root.json", ceremony.dave, ceremony.bob)
    ceremony.publish("3.root.json")
    goes_on(ceremony, b"3", device, tuf_js)


def test_a_holder_leaves_and_keeps_the_key(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    begin(ceremony)
    device = ceremony.form.device()
    device.update()
    ceremony.done("next", *ceremony.place)
    ceremony.done("add-key", "2.root.json", *ceremony.dave.key)
    ceremony.done("remove-key", "2.root.json", "alice")
    ceremony.sign("2.root.json", ceremony.bob, ceremony.carol)
    ceremony.publish("2.root.json")
    ceremony.done("next", *ceremony.place)
    ceremony.refused("sign", "3.root.json", *ceremony.alice.signing, why="its signature would not count")
    ceremony.sign("3.root.json", ceremony.bob)
    ceremony.refused("publish", "3.root.json", *ceremony.place, why="1 of them count: 1 more needed")
    goes_on(ceremony, b"2", device)


def test_the_roots_threshold_is_compromised(folder_ceremony: Ceremony, tmp_path: Path):
    ceremony = folder_ceremony
    begin(ceremony)
    form = ceremony.form
    lucky, victim = form.device(), form.device()
    lucky.update()
    with Thief(form, tmp_path) as thief:
        # A thief of Alice's and Bob's keys makes a root of their own.
        stolen = thief.read("1.root.json")
        stolen.signed.version = 2
        root_keys = stolen.signed.roles["root"]
        root_keys.threshold = 1
        stolen.signatures.clear()
        for person in (ceremony.alice, ceremony.bob):
            person.sign_with_python_tuf(stolen)
        stolen.to_file(str(thief.folder / "metadata" / "2.root.json"))
        thief.catch(victim)
        assert victim.update()._trusted_set.root.version == 2

        # The old keys sign once more: they hand over to people with new ones.
        people = [Holder(name, ceremony.folder) for name in ("erin", "frank", "grace")]
        ceremony.done("next", *ceremony.place)
        for person in people:
            ceremony.done("add-key", "2.root.json", *person.key)
        for name in ("alice", "bob", "carol"):
            ceremony.done("remove-key", "2.root.json", name)
        ceremony.sign("2.root.json", ceremony.alice, ceremony.bob, *people[:2])
        ceremony.publish("2.root.json")
        goes_on(ceremony, b"2", lucky)

        # Devices with our second root can't be misled with the old keys.
        forged = copy.deepcopy(stolen)
        forged.signed.version = 3
        forged.signatures.clear()
        for person in (ceremony.alice, ceremony.bob):
            person.sign_with_python_tuf(forged)
        forged.to_file(str(thief.folder / "metadata" / "3.root.json"))
        thief.catch(lucky)
        with pytest.raises(UnsignedMetadataError):
            lucky.update()
        thief.release(lucky)
        goes_on(ceremony, b"3", lucky)

        # Devices that followed the thief to another third root are lost, until somebody gives them
        # ours.
        thief.catch(victim)
        assert victim.update()._trusted_set.root.version == 3
        thief.release(victim)
        ceremony.done("next", *ceremony.place)
        ceremony.sign("3.root.json", *people[:2])
        ceremony.publish("3.root.json")
        ceremony.done("next", *ceremony.place)
        ceremony.sign("4.root.json", *people[:2])
        ceremony.publish("4.root.json")
        assert not accepts(victim)
        again = Device({**form.endpoints, "trusted_root": str(ceremony.folder / "4.root.json")}, tmp_path / "again")
        goes_on(ceremony, b"4", again, lucky)


def test_the_timestamp_is_rolled_forward_by_a_thief(folder_ceremony: Ceremony, tmp_path: Path):
    ceremony = folder_ceremony
    begin(ceremony)
    form = ceremony.form
    victim, tuf_js = form.device(), form.tuf_js_device()
    with Thief(form, tmp_path) as thief:
        thief.steal("timestamp")
        thief.forge_timestamp(FAR)
        for device in (victim, tuf_js):
            thief.catch(device)
            assert device.find([NAME]) == {NAME: sha256(b"1")}
            thief.release(device)
        # They wait for a timestamp that never comes.
        assert not accepts(victim)
        with pytest.raises(TufJsError):
            tuf_js.find([NAME])

        replace(ceremony, "timestamp")
        goes_on(ceremony, b"2", victim, tuf_js)
        thief.follow()
        thief.catch(victim)
        with pytest.raises(UnsignedMetadataError):
            victim.update()


def test_the_snapshot_is_rolled_forward_by_a_thief(folder_ceremony: Ceremony, tmp_path: Path):
    ceremony = folder_ceremony
    begin(ceremony)
    form = ceremony.form
    victim, tuf_js = form.device(), form.tuf_js_device()
    with Thief(form, tmp_path) as thief:
        thief.steal("timestamp", "snapshot")
        thief.forge_snapshot(FAR, targets=FAR)
        thief.forge_timestamp(FAR, snapshot=FAR)
        for device in (victim, tuf_js):
            thief.catch(device)
            # The thief can't sign targets; but devices remember the documents before it.
            with pytest.raises(Exception):
                device.find([NAME])
            thief.release(device)
            with pytest.raises(Exception):
                device.find([NAME])
        replace(ceremony, "timestamp", "snapshot")
        goes_on(ceremony, b"2", victim, tuf_js)


def test_all_online_keys_are_stolen(small_bins_ceremony: Ceremony, tmp_path: Path):
    ceremony = small_bins_ceremony
    begin(ceremony)
    form, roles = ceremony.form, ("targets", "snapshot", "timestamp")
    files = {f"bins/{number}": str(number).encode() for number in range(12)}
    for name, data in files.items():
        form.put(name, data)
    # All of them, so that nothing changes while it is copied.
    form.wait_published({name: sha256(data) for name, data in files.items()})
    assert len(form.published_roles()) > 16
    victim = form.device()
    victim.update()
    with Thief(form, tmp_path) as thief:
        thief.steal(*roles, "bins")

        # A target of the thief's, before all bins.
        def evil(targets: Targets) -> None:
            targets.targets["evil"] = TargetFile.from_data("evil", b"evil", ["sha256"])

        newest = form.published_generation()
        thief.forge_targets(FAR, "evil", evil)
        thief.forge_snapshot(newest + 1000, targets=FAR)
        thief.forge_timestamp(FAR, snapshot=newest + 1000)
        thief.catch(victim)
        assert victim.find(["evil"]) == {"evil": sha256(b"evil")}
        thief.release(victim)
        before = {role: thief.read(file) for role, file in form.published_roles().items()}

        ceremony.add_online_keys("bins")
        Rotation(ceremony, "bins").wait("unused")
        replace(ceremony, *roles)
        goes_on(ceremony, b"2", victim)
        assert victim.find(["evil"]) == {"evil": None}

        # Devices believe nothing that the old keys sign, for any role.
        thief.follow()
        thief.catch(victim)
        with pytest.raises(UnsignedMetadataError):
            victim.update()
        root: Root = Metadata.from_file(str(ceremony.folder / "3.root.json")).signed
        snapshot, targets = f"{newest + 1000}.snapshot.json", f"{FAR}.targets.json"
        for role, file in (("timestamp", "timestamp.json"), ("snapshot", snapshot), ("targets", targets)):
            forged = thief.read(file)
            with pytest.raises(UnsignedMetadataError):
                root.verify_delegate(role, forged.signed_bytes, forged.signatures)
        top = Metadata.from_file(str(thief.source / form.published_roles()["targets"])).signed
        bins = {role: old for role, old in before.items() if role.startswith("bin-")}
        assert len(bins) == 16
        for role, old in bins.items():
            with pytest.raises(UnsignedMetadataError):
                top.verify_delegate(role, old.signed_bytes, old.signatures)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_an_online_key_is_lost(folder_ceremony: Ceremony, role: str):
    ceremony = folder_ceremony
    begin(ceremony)
    form = ceremony.form
    device = form.device()
    device.update()
    (form.data / "keys" / f"{role}.pem").unlink()
    form.put(NAME, b"2")
    # Nothing new is published, and what is published stays as it is.
    until("trouble", lambda: f"{role}.pem" in form.log.read_text(), 30)
    assert device.find([NAME]) == {NAME: sha256(b"1")}
    replace(ceremony, role, last="rested")
    form.wait_published({NAME: sha256(b"2")})
    goes_on(ceremony, b"3", device)


def test_the_key_of_the_bins_is_lost(small_bins_ceremony: Ceremony):
    ceremony = small_bins_ceremony
    begin(ceremony)
    form = ceremony.form
    names = {f"bins/{number}": str(number).encode() for number in range(12)}
    for name, data in names.items():
        form.put(name, data)
    form.wait_published({name: sha256(data) for name, data in names.items()})
    device = form.device()
    device.update()
    (form.data / "keys" / "bins.pem").unlink()
    form.put(NAME, b"2")
    until("trouble", lambda: "bins.pem" in form.log.read_text(), 30)
    assert device.find([NAME]) == {NAME: sha256(b"1")}
    ceremony.add_online_keys("bins")
    Rotation(ceremony, "bins").wait("rested")
    form.wait_published({NAME: sha256(b"2"), **{name: sha256(data) for name, data in names.items()}})
    goes_on(ceremony, b"3", device)
