"""Keys are replaced while uploads come and devices update continuously: no verification fails."""

import pytest

from .ceremony import Ceremony
from .device import sha256
from .fleet import Fleet
from .holders import Holder
from .polling import until
from .rotation import Rotation

pytestmark = pytest.mark.slow


def keys(form, role: str, version: int) -> list[str]:
    return form.signed(f"{version}.root.json")["roles"][role]["keyids"]


def test_the_keys_in_the_root_are_replaced_under_load(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    form, alice, bob = ceremony.form, ceremony.alice, ceremony.bob
    roles = ["targets", "snapshot", "timestamp"]
    rotation = Rotation(ceremony, *roles)
    with Fleet(form) as fleet:
        assert rotation.steps() == {"rested"}
        ceremony.add_online_keys(*roles)
        told = rotation.run()
        assert {line["step"] for line in told.values()} == {"untrusted"}
        assert "2.root.json (2 signatures missing) and 3.root.json (2 signatures missing)" in told["timestamp"]["next"]

        # One ceremony for both roots.
        for person in (alice, bob):
            ceremony.sign("2.root.json", person)
            ceremony.sign("3.root.json", person)
        assert "`tufline root publish" in rotation.run()["timestamp"]["next"]
        ceremony.refused("publish", "3.root.json", *ceremony.place, why="it is version 3, and the next one is 2")
        ceremony.publish("2.root.json")
        assert rotation.steps() == {"settling"}
        # The old keys still sign: without them nothing would verify.
        ceremony.refused("publish", "3.root.json", *ceremony.place, why="would not verify under version 3 of the root")
        fleet.goes_on()
        told = rotation.wait("signed")
        assert all("3.root.json`, and then this command again" in line["next"] for line in told.values()), told
        ceremony.publish("3.root.json")
        told = rotation.wait("unused")
        for role in roles:
            assert len(keys(form, role, 1)) == len(keys(form, role, 3)) == 1 and len(keys(form, role, 2)) == 2
            assert keys(form, role, 2) == keys(form, role, 1) + keys(form, role, 3)
            assert keys(form, role, 3) == [told[role]["key"]]
        fleet.goes_on()
        ceremony.drop_old_online_keys(*roles)
        assert rotation.steps() == {"rested"}
        fleet.goes_on()


def test_a_replacement_of_keys_can_be_cancelled_under_load(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    form, rotation = ceremony.form, Rotation(ceremony, "snapshot", "timestamp")
    with Fleet(form) as fleet:
        ceremony.add_online_keys("snapshot", "timestamp")
        rotation.run()
        ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
        ceremony.publish("2.root.json")
        rotation.wait("signed")
        # The old keys stay instead: they sign everything again.
        second = ceremony.folder / "3.root.json"
        with form.paused():
            (form.data / "keys" / "snapshot.2.pem").unlink()
            ceremony.refused("publish", "3.root.json", *ceremony.place, why="of them count: 2 more needed")
            second.unlink()
            told = rotation.run()
            assert {role: line["step"] for role, line in told.items()} == {"snapshot": "resigning", "timestamp": "signed"}
            assert "wait until the new key of snapshot has signed too" in told["timestamp"]["next"]
            assert not second.exists(), "one root is for both, so it isn't made before both are ready"
            (form.data / "keys" / "timestamp.2.pem").unlink()
        rotation.wait("signed")
        ceremony.sign("3.root.json", ceremony.alice, ceremony.bob)
        ceremony.publish("3.root.json")
        assert rotation.steps() == {"rested"}
        assert [keys(form, "timestamp", version) for version in (1, 3)] == [keys(form, "timestamp", 1)] * 2
        fleet.goes_on()


def test_the_key_of_the_bins_is_replaced_under_load(small_bins_ceremony: Ceremony):
    ceremony = small_bins_ceremony
    ceremony.first()
    form, rotation = ceremony.form, Rotation(ceremony, "bins")
    with Fleet(form) as fleet:
        until("split", lambda: len(form.published_roles()) > 17)
        before = bins_keys(form)
        assert len(before) == 1 and rotation.steps() == {"rested"}
        ceremony.add_online_keys("bins")
        seen = set()

        def replaced() -> bool:
            seen.add(bins_keys(form))
            return rotation.steps() == {"unused"}

        until("replaced", replaced, 120, 0)
        after = bins_keys(form)
        assert len(after) == 1 and after != before
        # In between, both the old key and the new one are listed.
        assert seen | {after} == {before, before | after, after}
        fleet.goes_on()
        ceremony.drop_old_online_keys("bins")
        assert rotation.steps() == {"rested"}
        fleet.goes_on()


def bins_keys(form) -> frozenset[str]:
    """The keys that delegating roles list; all roles of a generation list the same ones."""
    meta = form.signed(f"{form.published_generation()}.snapshot.json")["meta"]
    documents = [form.signed(f"{entry['version']}.{file}") for file, entry in meta.items()]
    listed = {frozenset(document["delegations"]["keys"]) for document in documents if "delegations" in document}
    assert len(listed) == 1, listed
    return listed.pop()


def test_root_keys_are_replaced_under_load(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    people = [Holder(name, ceremony.folder) for name in ("erin", "frank", "grace")]
    with Fleet(ceremony.form) as fleet:
        ceremony.done("next", *ceremony.place)
        for person in people:
            ceremony.done("add-key", "2.root.json", *person.key)
        ceremony.done("remove-key", "2.root.json", "alice")
        ceremony.done("set-threshold", "2.root.json", 3)
        ceremony.sign("2.root.json", ceremony.alice, ceremony.bob, people[0])
        ceremony.refused("publish", "2.root.json", *ceremony.place, why="version 2 of the root asks for 3 signatures")
        ceremony.sign("2.root.json", people[1])
        ceremony.publish("2.root.json")
        fleet.goes_on()
        assert form_root(ceremony)["threshold"] == 3
    assert ceremony.form.device().find(["steady"]) == {"steady": sha256(b"steady")}


def form_root(ceremony: Ceremony) -> dict:
    return ceremony.form.signed("2.root.json")["roles"]["root"]
