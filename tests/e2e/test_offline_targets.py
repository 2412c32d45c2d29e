"""People sign the top-level targets role, while everything else flows as before; with real
clients."""

import json
from pathlib import Path

import pytest

from .device import SteadyDevice, sha256
from .fleet import Fleet
from .form import one_line_error
from .holders import Holder
from .rotation import Rotation
from .signers import FILES, FolderSigners

pytestmark = pytest.mark.slow


def test_people_sign_the_targets_role(make_folder, tmp_path: Path):
    table = tmp_path / "table"
    table.mkdir()
    form = make_folder(config="max_targets_per_bin = 4\n", bins=16)
    people = FolderSigners(table, form)
    alice, place = people.alice, people.place
    # Not the root's keys: those are taken out only for a root.
    tara, tess, tom = Holder("tara", table), Holder("tess", table, "--ed25519"), Holder("tom", table)
    people.first()
    form.put("a", b"a")
    form.wait_published({"a": sha256(b"a")})
    people.targets_refused("next", *place, why="set offline_targets in the configuration first")

    online = people.take_over(tara, tess, tom)
    first = people.targets_version()
    with SteadyDevice(form.device(), ["a"]):
        # Many uploads flow, and the bins split; nobody signs anything.
        names = {f"many/{number}": str(number).encode() for number in range(100)}
        for name, data in names.items():
            form.put(name, data)
        form.wait_published({name: sha256(data) for name, data in names.items()})
        assert form.published_roles()["targets"] == f"{first}.targets.json"

        # Meanwhile the next version is made: the work of others continues while people take their
        # time.
        second = people.next_targets()
        assert second > first
        form.put("a", b"b")
        form.wait_published({"a": sha256(b"b")})
        people.sign_targets(tom)
        people.publication_refused(why="not signed as it must be")
        people.sign_targets(tara)
        people.publish_targets()
        people.publish_targets()  # once more is once too many, and harmless
        signers = people.wait_for_targets(second)
    assert len(signers) == 2 and online not in signers
    expected = {"a": sha256(b"b"), "many/7": sha256(b"7")}
    assert form.device().find(expected) == expected
    assert form.tuf_js_device().find(list(expected)) == expected
    form.wait_tough("a", sha256(b"b"))

    # A document that nobody requested isn't published, and a command that would change targets by
    # itself doesn't start.
    old = json.loads((table / "targets.json").read_text())
    people.next_targets()
    document = json.loads((table / "targets.json").read_text())
    document["signed"]["version"] = old["signed"]["version"] + 1000
    (table / "targets.json").write_text(json.dumps(document))
    people.sign_targets(tara, tess)
    people.publication_refused(why="`tufline targets next` did not give out")
    people.next_targets()
    document = json.loads((table / "targets.json").read_text())
    document["signed"]["delegations"]["roles"].pop()
    (table / "targets.json").write_text(json.dumps(document))
    people.sign_targets(tara, tess)
    people.publication_refused(why="does not delegate to the bins with their current keys")
    refused = people.tufline("delegation", "create", "vendor-x", "--paths", "vendor-x/*", *alice.key, *place)
    assert "people sign the targets role here" in one_line_error(refused)


def test_the_key_of_the_bins_is_replaced_in_one_ceremony_under_load(make_folder, tmp_path: Path):
    table = tmp_path / "table"
    table.mkdir()
    form = make_folder(config="max_targets_per_bin = 4\n", bins=256)
    people = FolderSigners(table, form)
    tara, tess = Holder("tara", table), Holder("tess", table, "--ed25519")
    rotation = Rotation(people, "bins")
    people.first()
    people.take_over(tara, tess)
    before = people.targets_version()
    with Fleet(form) as fleet:
        assert rotation.steps() == {"rested"}
        people.add_online_keys("bins")
        fleet.goes_on()
        told = rotation.run()["bins"]
        assert told["step"] == "untrusted" and "make two targets documents with `tufline targets next`" in told["next"]
        assert people.targets_version() == before

        # One ceremony for both documents.
        both = people.next_targets()
        people.sign_targets(tara, tess)
        alone = people.version_in(FILES[1])
        people.publication_refused(FILES[1], why="first publish the document that lists both keys")
        people.publish_targets()
        # The pipeline is suspended meanwhile, so that it can't act earlier.
        with form.paused():
            people.publication_refused(FILES[1], why="bins still need; wait until `tufline key rotate")
        people.wait_for_targets(both)
        fleet.goes_on()
        told = rotation.wait("signed")["bins"]
        assert "tufline targets publish targets.2.json" in told["next"], told
        assert people.targets_version() == both and len(people.bins_keys(both)) == 2 and len(people.bins_keys(before)) == 1
        fleet.goes_on()

        people.publish_targets(FILES[1])
        people.publish_targets(FILES[1])  # harmless
        people.wait_for_targets(alone)
        rotation.wait("unused")
        assert people.bins_keys(alone) == [key for key in people.bins_keys(both) if key not in people.bins_keys(before)]
        people.drop_old_online_keys("bins")
        assert rotation.steps() == {"rested"}
        fleet.goes_on()
    # All delegating roles list only the new key.
    documents = [form.signed(file) for file in form.published_roles().values()]
    delegating = [list(document["delegations"]["keys"]) for document in documents if "delegations" in document]
    assert len(delegating) > 16 and all(keys == people.bins_keys(alone) for keys in delegating)
    people.publication_refused(why="which `tufline targets next` did not give out since")
