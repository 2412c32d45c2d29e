"""The top-level targets role in the hands of people, while everything else still flows; with real clients."""

import json
from pathlib import Path

from .ceremony import FolderCeremony
from .device import SteadyDevice, sha256
from .fleet import Fleet
from .form import DONE, one_line_error
from .holders import Holder
from .rotation import Rotation


class Signers(FolderCeremony):
    """People who hold the root, and the targets role too."""

    def targets(self, command: str, *arguments: object) -> str:
        done = self.tufline("targets", command, *arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return done.stdout

    def targets_refused(self, command: str, *arguments: object, why: str) -> None:
        files = set((self.form.data / "repository" / "metadata").glob("*.targets.json"))
        error = one_line_error(self.tufline("targets", command, *arguments))
        assert why in error, error
        assert set((self.form.data / "repository" / "metadata").glob("*.targets.json")) == files, "something was published"

    def next_targets(self) -> int:
        """Makes the next document, unsigned; answers its version."""
        for file in ("targets.json", "targets.2.json"):
            (self.folder / file).unlink(missing_ok=True)
        self.targets("next", "--expires", "30 days", *self.place)
        return json.loads((self.folder / "targets.json").read_text())["signed"]["version"]

    def sign_targets(self, *holders, file: str = "targets.json") -> None:
        for holder in holders:
            self.targets("sign", file, *holder.signing)

    def take_over(self, *holders) -> list[str]:
        """From online to offline: a root that lists both, a document that two of these people signed, a root that lists people only.

        Answers the ids of the online keys.
        """
        self.done("next", *self.place)
        online = json.loads((self.folder / "2.root.json").read_text())["signed"]["roles"]["targets"]["keyids"]
        for holder in holders:
            self.done("add-key", "2.root.json", "--role", "targets", *holder.key)
        self.sign("2.root.json", self.alice, self.bob)
        self.publish("2.root.json")
        self.go_offline()
        version = self.next_targets()
        self.targets_refused("publish", "targets.json", *self.place, why="not signed as it must be")
        self.sign_targets(*holders[:2])
        self.targets("publish", "targets.json", *self.place)
        assert len(self.wait_for_targets(version)) == 2
        self.done("next", *self.place)
        self.done("remove-key", "3.root.json", "--role", "targets", online[0][:16])
        self.done("set-threshold", "3.root.json", "--role", "targets", 2)
        self.sign("3.root.json", self.alice, self.bob)
        self.publish("3.root.json")
        return online

    def go_offline(self) -> None:
        assert self.form.stop() == 0
        config = self.form.data / "config.toml"
        config.write_text("offline_targets = true\n" + config.read_text())
        self.form.start()

    def targets_version(self) -> int:
        """The version that devices see."""
        return int(self.form.published_roles()["targets"].partition(".")[0])

    def wait_for_targets(self, version: int) -> list[str]:
        """Waits until devices see this version; answers who signed it."""
        self.form.put("wake/up", str(version).encode())
        self.form.wait_published({"wake/up": sha256(str(version).encode())})
        file = self.form.published_roles()["targets"]
        assert file == f"{version}.targets.json"
        text = json.loads((self.form.data / "repository" / "metadata" / file).read_text())
        return [signature["keyid"] for signature in text["signatures"]]


def test_people_sign_the_targets_role(make_folder, tmp_path: Path):
    table = tmp_path / "table"
    table.mkdir()
    form = make_folder(config="max_targets_per_bin = 4\n", bins=16)
    people = Signers(table, form)
    alice, place = people.alice, people.place
    # Not the keys of the root: those stay where they are but for a root.
    tara, tess, tom = Holder("tara", table), Holder("tess", table, "--ed25519"), Holder("tom", table)
    people.first()
    form.put("a", b"a")
    form.wait_published({"a": sha256(b"a")})
    people.targets_refused("next", *place, why="set offline_targets in its configuration first")

    online = people.take_over(tara, tess, tom)
    first = people.targets_version()
    with SteadyDevice(form.device(), ["a"]):
        # Uploads flow, many of them, and the bins split; nobody signs anything.
        names = {f"many/{number}": str(number).encode() for number in range(100)}
        for name, data in names.items():
            form.put(name, data)
        form.wait_published({name: sha256(data) for name, data in names.items()})
        assert form.published_roles()["targets"] == f"{first}.targets.json"

        # Its next version, meanwhile: while people take their time others go on.
        second = people.next_targets()
        assert second > first
        form.put("a", b"b")
        form.wait_published({"a": sha256(b"b")})
        people.sign_targets(tom)
        people.targets_refused("publish", "targets.json", *place, why="not signed as it must be")
        people.sign_targets(tara)
        people.targets("publish", "targets.json", *place)
        people.targets("publish", "targets.json", *place)  # once more is once too many, and harmless
        signers = people.wait_for_targets(second)
    assert len(signers) == 2 and online[0] not in signers
    expected = {"a": sha256(b"b"), "many/7": sha256(b"7")}
    assert form.device().find(expected) == expected
    assert form.tuf_js_device().find(list(expected)) == expected
    form.wait_tough("a", sha256(b"b"))

    # What was not asked for isn't published, and what would change targets by itself isn't begun.
    old = json.loads((table / "targets.json").read_text())
    people.next_targets()
    document = json.loads((table / "targets.json").read_text())
    document["signed"]["version"] = old["signed"]["version"] + 1000
    (table / "targets.json").write_text(json.dumps(document))
    people.sign_targets(tara, tess)
    people.targets_refused("publish", "targets.json", *place, why="not one that `tufline targets next` gave out")
    people.next_targets()
    document = json.loads((table / "targets.json").read_text())
    document["signed"]["delegations"]["roles"].pop()
    (table / "targets.json").write_text(json.dumps(document))
    people.sign_targets(tara, tess)
    people.targets_refused("publish", "targets.json", *place, why="doesn't delegate to the bins as they are now")
    refused = people.tufline("delegation", "create", "vendor-x", "--paths", "vendor-x/*", *alice.key, "--no-tuf-js-devices", *place)
    assert "people sign the targets role here" in one_line_error(refused)


def test_the_key_of_the_bins_is_replaced_in_one_ceremony_under_load(make_folder, tmp_path: Path):
    table = tmp_path / "table"
    table.mkdir()
    form = make_folder(config="max_targets_per_bin = 4\n", bins=256)
    people = Signers(table, form)
    place, tara, tess = people.place, Holder("tara", table), Holder("tess", table, "--ed25519")
    rotation = Rotation(people, "bins")
    people.first()
    people.take_over(tara, tess)
    before = people.targets_version()
    listed = lambda version: form.signed(f"{version}.targets.json")["delegations"]["keys"]
    with Fleet(form) as fleet:
        assert rotation.steps() == {"rested"}
        people.add_online_keys("bins")
        fleet.goes_on()
        told = rotation.run()["bins"]
        assert told["step"] == "untrusted" and "make both documents of targets with `tufline targets next`" in told["next"]
        assert people.targets_version() == before

        # One ceremony for both documents.
        both = people.next_targets()
        for file in ("targets.json", "targets.2.json"):
            people.sign_targets(tara, tess, file=file)
        alone = json.loads((table / "targets.2.json").read_text())["signed"]["version"]
        why = "publish the document that lists it beside the new one first"
        people.targets_refused("publish", "targets.2.json", *place, why=why)
        people.targets("publish", "targets.json", *place)
        # The pipeline stands still for the moment of this, so that it can't be done sooner.
        with form.paused():
            people.targets_refused("publish", "targets.2.json", *place, why="bins still need the signature; wait until `tufline key rotate")
        people.wait_for_targets(both)
        fleet.goes_on()
        told = rotation.wait("signed")["bins"]
        assert "tufline targets publish targets.2.json" in told["next"], told
        assert people.targets_version() == both and len(listed(both)) == 2 and len(listed(before)) == 1
        fleet.goes_on()

        people.targets("publish", "targets.2.json", *place)
        people.targets("publish", "targets.2.json", *place)  # harmless
        people.wait_for_targets(alone)
        rotation.wait("unused")
        assert list(listed(alone)) == [key for key in listed(both) if key not in listed(before)]
        people.drop_old_online_keys("bins")
        assert rotation.steps() == {"rested"}
        fleet.goes_on()
    # All delegating roles list the new key alone.
    documents = [form.signed(file) for file in form.published_roles().values()]
    delegating = [document["delegations"]["keys"] for document in documents if "delegations" in document]
    assert len(delegating) > 16 and all(keys == listed(alone) for keys in delegating)
    people.targets_refused("publish", "targets.json", *place, why="which is not one that `tufline targets next` gave out since")
