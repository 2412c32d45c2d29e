"""The root that people hold: from a ceremony of two of three to its third version, in both forms,
with real clients."""

import copy
import json
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from .ceremony import Ceremony
from .device import SteadyDevice, sha256
from .form import TIMED_OUT, TUFLINE, one_line_error, run
from .holders import Holder, edit_with_python_tuf
from .polling import until


def root_version(device) -> int:
    return device.update()._trusted_set.root.version


@pytest.mark.slow
def test_from_the_first_root_to_the_third(ceremony: Ceremony):
    alice, bob, carol, dave, form = ceremony.alice, ceremony.bob, ceremony.carol, ceremony.dave, ceremony.form
    keys = [argument for person in (alice, bob, carol) for argument in person.key]
    told = ceremony.done("init", *keys, "--threshold", 2, *ceremony.place)
    assert "version 1 asks for 2 of 3 root keys: 2 more needed" in told
    assert all(f"missing  {name} " in told for name in ("alice", "bob", "carol"))

    # Two copies on two USB sticks.
    for stick in ("a", "b"):
        shutil.copy(ceremony.folder / "1.root.json", ceremony.folder / f"{stick}.json")
    ceremony.sign("a.json", alice)
    ceremony.refused("publish", "a.json", *ceremony.place, why="1 of them count: 1 more needed")
    ceremony.sign("b.json", carol)
    ceremony.done("merge", "1.root.json", "a.json", "b.json")
    assert [entry["needed"] for entry in ceremony.show("1.root.json")["signatures"]] == [0]
    ceremony.publish("1.root.json")
    ceremony.publish("1.root.json")  # once more is once too many, and harmless
    ceremony.begin()

    name = "roots/a"
    form.put(name, b"1")
    form.wait_published({name: sha256(b"1")})
    old, old_tuf_js = form.device(), form.tuf_js_device()
    assert root_version(old) == 1 and old_tuf_js.find([name]) == {name: sha256(b"1")}

    # Alice loses her key; dave joins, and all three must sign from then on.
    with SteadyDevice(form.device(), [name]):
        ceremony.done("next", *ceremony.place)
        ceremony.done("add-key", "2.root.json", *dave.key)
        ceremony.done("remove-key", "2.root.json", "alice")
        ceremony.done("set-threshold", "2.root.json", 3)
        told = ceremony.done("show", "2.root.json")
        for line in ("root: + dave ", "root: - alice ", "root: threshold 2 → 3", "version 1 asks for 2 of 3 root keys: 2 more"):
            assert line in told, told
        ceremony.sign("2.root.json", dave, bob)
        ceremony.refused("publish", "2.root.json", *ceremony.place, why="version 1 of the root asks for 2 signatures")
        ceremony.sign("2.root.json", carol)
        ceremony.publish("2.root.json")
        assert root_version(old) == 2 and old_tuf_js.find([name]) == {name: sha256(b"1")}

        # The third root is made with python-tuf; some holders sign with it, others with Tufline.
        ceremony.done("next", *ceremony.place)

        def edit(root: Root) -> None:
            root.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=100)
            root.unrecognized_fields["x-other"] = {"a": ["ä", 1]}

        edit_with_python_tuf(ceremony.folder / "3.root.json", edit, dave, bob)
        changes = ceremony.show("3.root.json")["changes"]
        assert len(changes) == 2 and changes[0].startswith("expires: ") and changes[1].startswith("x-other "), changes
        ceremony.sign("3.root.json", carol)
        ceremony.publish("3.root.json")

        form.put(name, b"2")
        form.wait_published({name: sha256(b"2")})
    fresh = form.device()
    for device in (old, fresh):
        assert device.find([name]) == {name: sha256(b"2")} and root_version(device) == 3
    for device in (old_tuf_js, form.tuf_js_device()):
        assert device.find([name]) == {name: sha256(b"2")}
    form.wait_tough(name, sha256(b"2"))
    assert sorted(form.signed("3.root.json")["x-tufline-keyholders"].values()) == ["bob", "carol", "dave"]


def test_what_must_not_be_signed_or_published_is_refused(ceremony: Ceremony, tmp_path: Path):
    alice, bob, place, folder = ceremony.alice, ceremony.bob, ceremony.place, ceremony.folder
    ceremony.first()
    ceremony.form.put("roots/b", b"1")
    ceremony.form.wait_published({"roots/b": sha256(b"1")})

    # A wrong passphrase, no key, another person's key.
    ceremony.done("next", *place)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    ceremony.refused("sign", "2.root.json", "--key", alice.pem, "--passphrase-file", wrong, why="wrong passphrase")
    ceremony.refused("sign", "2.root.json", "--key", alice.pem.with_suffix(".pub"), why="it holds no private key")
    ceremony.refused("sign", "2.root.json", *ceremony.dave.signing, why="its signature would not count")

    # A role's last key; a threshold above the number of keys.
    timestamp = next(iter(ceremony.form.signed("1.root.json")["roles"]["timestamp"]["keyids"]))
    ceremony.refused("remove-key", "2.root.json", timestamp, "--role", "timestamp", why="no key would be left for the role timestamp")
    ceremony.refused("set-threshold", "2.root.json", 4, why="at most the number of keys")
    ceremony.done("set-threshold", "2.root.json", 3)
    ceremony.refused("remove-key", "2.root.json", "carol", why="root would ask for 3 signatures with 2 keys")
    ceremony.refused("add-key", "2.root.json", *alice.key, why="lists one public key twice")
    ceremony.refused("add-key", "2.root.json", *alice.key, "--role", "timestamp", why="root keys must stay offline")
    ceremony.done("set-threshold", "2.root.json", 2)

    # Too few signatures; one signature twice; one key twice, under two ids.
    ceremony.sign("2.root.json", alice)
    ceremony.sign("2.root.json", alice)
    ceremony.refused("publish", "2.root.json", *place, why="1 of them count: 1 more needed")
    document = json.loads((folder / "2.root.json").read_text())
    twice = copy.deepcopy(document)
    twice["signatures"] *= 2
    (folder / "twice.json").write_text(json.dumps(twice))
    ceremony.refused("publish", "twice.json", *place, why="1 of them count: 1 more needed")
    twice = copy.deepcopy(document)
    first = twice["signatures"][0]["keyid"]
    again = {**twice["signed"]["keys"][first], "x": "another id"}
    again_id = sha256(json.dumps(again, separators=(",", ":"), sort_keys=True).replace("\\n", "\n").encode())
    twice["signed"]["keys"][again_id] = again
    twice["signed"]["roles"]["root"]["keyids"] = [first, again_id]
    (folder / "twice.json").write_text(json.dumps(twice))
    for command in (["publish", "twice.json", *place], ["sign", "twice.json", "--previous", "1.root.json", *alice.signing]):
        ceremony.refused(*command, why="a threshold must be reached by different keys")

    # A version is skipped.
    ceremony.refused("next", "--previous", "2.root.json", why="not a root with enough signatures of its own keys")
    ceremony.sign("2.root.json", bob)
    ceremony.done("next", "--previous", "2.root.json")
    ceremony.sign("3.root.json", alice, bob)
    ceremony.refused("publish", "3.root.json", *place, why="it is version 3, and the next one is 2")

    # The root has expired, whatever tool made it.
    def expired(root: Root) -> None:
        root.expires = datetime(2020, 1, 1, tzinfo=UTC)

    shutil.copy(folder / "2.root.json", folder / "expired.json")
    edit_with_python_tuf(folder / "expired.json", expired, alice, bob)
    ceremony.refused("publish", "expired.json", *place, why="it expired at 2020-01-01T00:00:00Z")
    sign = ["sign", "expired.json", "--previous", "1.root.json", *alice.signing]
    ceremony.refused(*sign, why="it expired at 2020-01-01T00:00:00Z")

    # What is published would not verify: the root has another timestamp key than the one in use.
    other = Holder("other", folder)
    ceremony.done("add-key", "2.root.json", *other.key, "--role", "timestamp")
    ceremony.done("remove-key", "2.root.json", timestamp, "--role", "timestamp")
    ceremony.sign("2.root.json", alice, bob)
    ceremony.refused("publish", "2.root.json", *place, why="would not verify under version 2 of the root: timestamp")

    # Another content under the same version; no root at all.
    ceremony.done("set-expiry", "2.root.json", "100 days")
    ceremony.refused("merge", "2.root.json", "twice.json", why="cannot be")
    (folder / "x.json").write_text("{}")
    ceremony.refused("publish", "x.json", *place, why="x.json cannot be used")
    ceremony.refused("init", *alice.key, "--threshold", 1, "--out", "new.json", *place, why="already")
    assert root_version(ceremony.form.device()) == 1


def test_python_tuf_verifies_what_ours_signs_and_the_reverse(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    people = [ceremony.alice, ceremony.bob, ceremony.carol]
    ceremony.done("init", *[argument for person in people for argument in person.key], "--threshold", 3, *ceremony.place)
    path = ceremony.folder / "1.root.json"
    ceremony.sign("1.root.json", *people)
    metadata = Metadata[Root].from_file(str(path))
    metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    assert len(metadata.signatures) == 3
    edit_with_python_tuf(path, lambda root: None, *people)
    assert [entry["needed"] for entry in ceremony.show("1.root.json")["signatures"]] == [0]
    ceremony.publish("1.root.json")
    ceremony.begin()
    ceremony.form.put("a", b"1")
    ceremony.form.wait_published({"a": sha256(b"1")})
    ceremony.form.wait_tough("a", sha256(b"1"))


def test_the_embedded_form_waits_for_its_root(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.done("init", *ceremony.alice.key, "--threshold", 1, *ceremony.place)
    done = run("local", "--data", ceremony.form.data, "--listen", "127.0.0.1:0")
    assert "waits for its first root" in one_line_error(done)
    ceremony.sign("1.root.json", ceremony.alice)
    ceremony.publish("1.root.json")
    ceremony.done("next", *ceremony.place)
    ceremony.sign("2.root.json", ceremony.alice)
    # Nothing runs that could sign the timestamp again.
    form = ceremony.form.start()
    form.stop()
    error = one_line_error(ceremony.root("publish", "2.root.json", *ceremony.place))
    assert "start `tufline local`" in error
    form.start()
    ceremony.publish("2.root.json")
    assert root_version(form.device()) == 2


def test_publishing_a_root_gives_up_if_the_timestamp_is_not_renewed(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    ceremony.done("next", *ceremony.place)
    ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
    process = ceremony.form.process
    process.send_signal(signal.SIGSTOP)
    try:
        done = ceremony.root("publish", "2.root.json", *ceremony.place, "--timeout", 2)
        assert done.returncode == TIMED_OUT and "no new timestamp was signed within 2 s" in done.stderr, done
        assert ceremony.intents() == []
        for sent, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
            command = [TUFLINE, "root", "publish", "2.root.json", *map(str, ceremony.place)]
            publishing = subprocess.Popen(command, cwd=ceremony.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            until("proposed", ceremony.intents)
            publishing.send_signal(sent)
            _, error = publishing.communicate(timeout=30)
            assert sent == signal.SIGKILL or b"stopped: nothing was published" in error, error
            assert len(ceremony.intents()) == left
        assert ceremony.done("withdraw", *ceremony.place) == "1 intent withdrawn\n"
        assert ceremony.intents() == []
    finally:
        process.send_signal(signal.SIGCONT)
    assert root_version(ceremony.form.device()) == 1
    ceremony.publish("2.root.json")
    assert root_version(ceremony.form.device()) == 2
