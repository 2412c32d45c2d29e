"""The root that people hold: from a ceremony of two of three to its third version, in both forms, with real clients."""

import copy
import json
import shutil
import signal
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from .cloud import CloudForm
from .device import SteadyDevice, sha256
from .folder import FolderForm
from .form import DONE, TIMED_OUT, TUFLINE, Form, one_line_error, run
from .holders import Holder, KmsHolder, RsaHolder, edit_with_python_tuf
from .polling import until


class Ceremony:
    """A repository without a root, and the people who shall hold it, at a table with USB sticks."""

    form: Form
    place: list[object]
    # The environment of whoever may use the keys in KMS.
    variables: dict[str, str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alice = Holder("alice", folder)
        self.bob = Holder("bob", folder, "--ed25519")
        self.dave = Holder("dave", folder)
        self.variables = {}

    def root(self, command: str, *arguments: object, **options):
        """Runs `tufline root` where the people are."""
        return run("root", command, *arguments, variables=self.variables, cwd=self.folder, **options)

    def done(self, command: str, *arguments: object) -> str:
        """The same, where it must work; answers what it said."""
        done = self.root(command, *arguments)
        assert done.returncode == DONE, (done.stdout, done.stderr)
        return done.stdout

    def refused(self, command: str, *arguments: object, why: str, **options) -> None:
        """The same, where it must be refused: in one line, and nothing is written, neither here nor in the repository."""
        before = self.files()
        error = one_line_error(self.root(command, *arguments, **options))
        assert why in error, error
        assert self.files() == before, "something was written"

    def sign(self, file: str, *holders: Holder) -> None:
        for holder in holders:
            self.done("sign", file, *holder.signing)

    def show(self, file: str) -> dict:
        return json.loads(self.done("show", file, "--json"))

    def publish(self, file: str) -> None:
        self.done("publish", file, *self.place)

    def begin(self) -> None:
        """What comes after the first root."""

    def files(self) -> dict[str, bytes]:
        """All files here, and all roots and intents in the repository."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()} | self.published()

    def published(self) -> dict[str, bytes]:
        raise NotImplementedError

    def first(self) -> None:
        """Two of three, each signs where they are."""
        people = [self.alice, self.bob, self.carol]
        keys = [argument for person in people for argument in person.key]
        self.done("init", *keys, "--threshold", 2, *self.place)
        self.sign("1.root.json", self.alice, self.bob)
        self.publish("1.root.json")
        self.begin()


class FolderCeremony(Ceremony):
    def __init__(self, folder: Path, form: FolderForm) -> None:
        super().__init__(folder)
        self.carol = RsaHolder("carol", folder)
        self.form = form
        self.place = ["--data", form.data]

    def begin(self) -> None:
        self.form.start()

    def published(self) -> dict[str, bytes]:
        data = self.form.data
        paths = [*data.glob("repository/metadata/*.root.json"), *data.glob("ledger/root-intent.json")]
        return {f"published {path.name}": path.read_bytes() for path in paths}

    def intents(self) -> list[dict]:
        """The roots that somebody is about to publish."""
        path = self.form.data / "ledger" / "root-intent.json"
        return json.loads(path.read_text())["roots"] if path.exists() else []


class CloudCeremony(Ceremony):
    def __init__(self, folder: Path, form: CloudForm) -> None:
        super().__init__(folder)
        lines = (form.data / "resources.env").read_text().splitlines()
        self.variables = dict(line.split("=", 1) for line in lines)
        self.variables["AWS_ACCESS_KEY_ID"] = form.admin_keys["access_key_id"]
        self.variables["AWS_SECRET_ACCESS_KEY"] = form.admin_keys["secret_access_key"]
        key = form.connect("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="carol's")
        self.carol = KmsHolder("carol", key["KeyMetadata"]["Arn"])
        self.form = form
        self.place = ["--endpoints", form.data / "endpoints.json", "--admin", form.data / "admin.json"]

    def begin(self) -> None:
        shutil.copy(self.folder / "1.root.json", self.form.endpoints["trusted_root"])

    def publish(self, file: str) -> None:
        # The schedule runs refresh each minute: this only saves the wait.
        over = threading.Event()

        def refresh() -> None:
            while not over.wait(2):
                self.form.invoke("refresh")

        thread = threading.Thread(target=refresh)
        thread.start()
        try:
            super().publish(file)
        finally:
            over.set()
            thread.join()

    def published(self) -> dict[str, bytes]:
        form = self.form
        found = [("repository_bucket", key) for key in form.keys("repository_bucket", "metadata/") if ".root." in key]
        found += [("ledger_bucket", key) for key in form.keys("ledger_bucket", "root-intent")]
        read = lambda bucket, key: form.admin_s3.get_object(Bucket=form.endpoints[bucket], Key=key)["Body"].read()
        return {f"published {key}": read(bucket, key) for bucket, key in found}


@pytest.fixture
def folder_ceremony(make_folder, tmp_path: Path) -> Ceremony:
    table = tmp_path / "table"
    table.mkdir()
    return FolderCeremony(table, make_folder())


@pytest.fixture
def cloud_ceremony(deploy, tmp_path: Path) -> Ceremony:
    return CloudCeremony(tmp_path, deploy("Ceremony", {"access": "open"}, initialize=False))


@pytest.fixture(params=["folder", "cloud"])
def ceremony(request: pytest.FixtureRequest) -> Ceremony:
    """A ceremony for each form in turn."""
    return request.getfixturevalue(f"{request.param}_ceremony")


def root_version(device) -> int:
    return device.update()._trusted_set.root.version


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

    # Alice loses her key; dave comes, and all three must sign from then on.
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

        # The third is made with python-tuf, and signed by some with it and by others with ours.
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

    # A wrong passphrase, no key, somebody else's key.
    ceremony.done("next", *place)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    ceremony.refused("sign", "2.root.json", "--key", alice.pem, "--passphrase-file", wrong, why="wrong passphrase")
    ceremony.refused("sign", "2.root.json", "--key", alice.pem.with_suffix(".pub"), why="it holds no private key")
    ceremony.refused("sign", "2.root.json", *ceremony.dave.signing, why="its signature would not count")

    # A role's last key, a threshold beyond the keys.
    timestamp = next(iter(ceremony.form.signed("1.root.json")["roles"]["timestamp"]["keyids"]))
    ceremony.refused("remove-key", "2.root.json", timestamp, "--role", "timestamp", why="no key would be left for the role timestamp")
    ceremony.refused("set-threshold", "2.root.json", 4, why="at most the number of keys")
    ceremony.done("set-threshold", "2.root.json", 3)
    ceremony.refused("remove-key", "2.root.json", "carol", why="root would ask for 3 signatures with 2 keys")
    ceremony.refused("add-key", "2.root.json", *alice.key, why="lists one public key twice")
    ceremony.refused("add-key", "2.root.json", *alice.key, "--role", "timestamp", why="root keys must stay offline")
    ceremony.done("set-threshold", "2.root.json", 2)

    # Too few; a signature that is there twice; a key that is there twice, under two ids.
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
    ceremony.refused("next", "--previous", "2.root.json", why="not signed by enough of its own keys")
    ceremony.sign("2.root.json", bob)
    ceremony.done("next", "--previous", "2.root.json")
    ceremony.sign("3.root.json", alice, bob)
    ceremony.refused("publish", "3.root.json", *place, why="it is version 3, and the next one is 2")

    # It expired, whatever tool made it so.
    def expired(root: Root) -> None:
        root.expires = datetime(2020, 1, 1, tzinfo=UTC)

    shutil.copy(folder / "2.root.json", folder / "expired.json")
    edit_with_python_tuf(folder / "expired.json", expired, alice, bob)
    ceremony.refused("publish", "expired.json", *place, why="it expired at 2020-01-01T00:00:00Z")
    sign = ["sign", "expired.json", "--previous", "1.root.json", *alice.signing]
    ceremony.refused(*sign, why="it expired at 2020-01-01T00:00:00Z")

    # What is published would not verify: another timestamp key, in place of the one in use.
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


def test_publishing_gives_up_while_nothing_is_signed_again(folder_ceremony: Ceremony):
    ceremony = folder_ceremony
    ceremony.first()
    ceremony.done("next", *ceremony.place)
    ceremony.sign("2.root.json", ceremony.alice, ceremony.bob)
    process = ceremony.form.process
    process.send_signal(signal.SIGSTOP)
    try:
        done = ceremony.root("publish", "2.root.json", *ceremony.place, "--timeout", 2)
        assert done.returncode == TIMED_OUT and "was not signed again within 2 s" in done.stderr, done
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
