"""The top-level targets role in the hands of people, while everything else still flows; with real clients."""

import json
from pathlib import Path

from .ceremony import FolderCeremony
from .device import SteadyDevice, sha256
from .form import DONE, one_line_error
from .holders import Holder


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
        (self.folder / "targets.json").unlink(missing_ok=True)
        self.targets("next", "--expires", "30 days", *self.place)
        return json.loads((self.folder / "targets.json").read_text())["signed"]["version"]

    def sign_targets(self, *holders) -> None:
        for holder in holders:
            self.targets("sign", "targets.json", *holder.signing)

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
    alice, bob, place = people.alice, people.bob, people.place
    # Not the keys of the root: those stay where they are but for a root.
    tara, tess, tom = Holder("tara", table), Holder("tess", table, "--ed25519"), Holder("tom", table)
    people.first()
    form.put("a", b"a")
    form.wait_published({"a": sha256(b"a")})
    people.targets_refused("next", *place, why="set offline_targets in its configuration first")

    # From online to offline: a root that lists both, a document that people signed, a root that lists people only.
    people.done("next", *place)
    online = json.loads((table / "2.root.json").read_text())["signed"]["roles"]["targets"]["keyids"]
    for holder in (tara, tess, tom):
        people.done("add-key", "2.root.json", "--role", "targets", *holder.key)
    people.sign("2.root.json", alice, bob)
    people.publish("2.root.json")
    assert form.stop() == 0
    config = form.data / "config.toml"
    config.write_text("offline_targets = true\n" + config.read_text())
    form.start()
    first = people.next_targets()
    people.targets_refused("publish", "targets.json", *place, why="not signed as it must be")
    people.sign_targets(tara, tess)
    with SteadyDevice(form.device(), ["a"]):
        people.targets("publish", "targets.json", *place)
        assert len(people.wait_for_targets(first)) == 2
        people.done("next", *place)
        people.done("remove-key", "3.root.json", "--role", "targets", online[0][:16])
        people.done("set-threshold", "3.root.json", "--role", "targets", 2)
        people.sign("3.root.json", alice, bob)
        people.publish("3.root.json")

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
    refused = people.tufline("delegation", "create", "vendor-x", "--paths", "vendor-x/*", *alice.key, *place)
    assert "people sign the targets role here" in one_line_error(refused)
