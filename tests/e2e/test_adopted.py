"""A deployment on AWS that takes over another tool's repository. Then its online keys are replaced,
and lost; then people sign its targets role.

All tests share one deployment, since each takes its time, and continue from one another in their
order.
"""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cloud_lib import emulator
from securesystemslib.signer import CryptoSigner

from .device import Device, sha256
from .fleet import STEADY, Fleet
from .foreign import ForeignRepository
from .form import DONE, TUFLINE, one_line_error
from .holders import Holder
from .importing import FieldDevice, Import
from .polling import until
from .rotation import Rotation
from .signers import FILES as DOCUMENTS
from .signers import CloudSigners
from .static_server import StaticServer
from .tuf_js import TufJsDevice
from .variant import Variant

pytestmark = pytest.mark.emulator

FILES = {f"line-{number % 3}/module-{number}.bin": f"{number}".encode() * 99 for number in range(20)}
CUSTOM = {"version": "2.0.1", "board": [1, 2], "text": "für alle ☃"}
ROLES = ("targets", "snapshot", "timestamp")


class Adopted:
    """The deployment, its root's holders, and devices that knew the old repository."""

    def __init__(self, folder: Path, variant: Variant) -> None:
        self.form = variant
        self.ceremony = CloudSigners(folder, variant)
        self.holders = (self.ceremony.alice, self.ceremony.bob)
        holders = [CryptoSigner(holder.private()) for holder in self.holders]
        self.foreign = ForeignRepository(folder / "foreign", holders=holders)
        self.foreign.customs["line-0/module-0.bin"] = CUSTOM
        self.foreign.publish(FILES, by=7)
        # With the rights to upload and to operate, and nothing else. Roles are small, so there are
        # bins.
        (folder / "importer.json").write_text(json.dumps(importer(variant)))
        place = [*variant.connection(operator=False), "--admin", folder / "importer.json"]
        self.ceremony.operators = place
        variables = {**variant.variables(), "TUFLINE_CONFIG": json.dumps({"max_targets_per_bin": 4})}
        self.moved = Import(folder, self.foreign, variant, place, variables)
        self.devices = [FieldDevice(kind, folder / kind.__name__, self.moved.trusted) for kind in (Device, TufJsDevice)]
        Path(variant.endpoints["trusted_root"]).write_bytes(self.moved.trusted.read_bytes())

    def look_at_others(self) -> None:
        """Checks that all devices see what the old repository published."""
        with StaticServer(self.foreign.folder) as server:
            for device in self.devices:
                client = device.at(f"{server.url}metadata/", f"{server.url}targets/")
                assert client.find(FILES) == {name: sha256(data) for name, data in FILES.items()}

    def sign(self, *versions: int) -> None:
        for version in versions:
            self.ceremony.sign(f"{version}.root.json", *self.holders)


def importer(variant: Variant) -> dict[str, str]:
    """The keys of a new user with the uploader's rights, and the operators' by the policy that the
    deployment made."""
    iam, name = variant.connect("iam"), f"{variant.stack}-importer"
    iam.create_user(UserName=name)
    uploader = f"{variant.stack}-uploader"
    uploading = iam.get_user_policy(UserName=uploader, PolicyName=uploader)["PolicyDocument"]
    iam.put_user_policy(UserName=name, PolicyName="uploading", PolicyDocument=json.dumps(uploading))
    policy = f"arn:aws:iam::{emulator.ACCOUNT}:policy/{variant.stack}-operator-{emulator.REGION}"
    iam.attach_user_policy(UserName=name, PolicyArn=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


@pytest.fixture(scope="module")
def adopted(deploy, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    return Adopted(tmp_path_factory.mktemp("adopted"), deploy("Adopted", {"access": "open"}, initialize=False))


def test_devices_in_the_field_follow_into_a_deployment(adopted: Adopted):
    moved, form = adopted.moved, adopted.form
    adopted.look_at_others()
    moved.done()
    moved.refused("2 more needed", "--next-root", moved.next)
    adopted.sign(2)
    form.put("stranger.bin", b"?")
    assert "the uploads have stranger.bin" in one_line_error(moved.run("--next-root", moved.next))
    assert not form.keys("repository_bucket", "metadata/")
    form.remove("stranger.bin")

    # Messages to rebuild from before the first generation come again: in two seconds, not in
    # minutes.
    with form.visibility(2):
        # Killed when the first uploads are there, the import continues.
        command = [TUFLINE, "import", adopted.foreign.folder, *moved.place, "--next-root", moved.next]
        options = {"cwd": moved.folder, "env": moved.variables, "stdout": subprocess.DEVNULL}
        process = subprocess.Popen([str(part) for part in command], **options)
        until("begun", lambda: len(form.keys("repository_bucket", "blobs/")) > 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = json.loads(moved.done("--next-root", moved.next, "--json"))
        assert said["outcome"] == "imported" and said["targets"] == len(FILES) and said["generation"] >= 8
        until("told", lambda: all(form.told(FILES).values()), 60)
    # It is done, and stays done.
    assert json.loads(moved.done("--next-root", moved.next, "--json"))["outcome"] == "imported"
    other = ForeignRepository(moved.folder / "other")
    other.publish({"a": b"1"})
    moved.refused("there is a repository already", "--out", moved.folder / "x.json", source=other.folder)

    new = {**FILES, "new.bin": b"uploaded here", "line-1/module-1.bin": b"changed here"}
    for name in new.keys() - FILES.keys() | {"line-1/module-1.bin"}:
        form.put(name, new[name])
    form.remove("line-2/module-2.bin")
    expected = {name: sha256(data) for name, data in new.items()} | {"line-2/module-2.bin": None}
    form.wait_published(expected)
    urls = form.endpoints["metadata_url"], form.endpoints["targets_url"]
    for device in adopted.devices:
        client = device.at(*urls)
        assert client.find(expected) == expected
        for name in ("new.bin", "line-0/module-0.bin"):
            assert client.download_bytes(name) == new[name]
    assert adopted.devices[0].client.custom("line-0/module-0.bin") == CUSTOM
    # All versions are higher than before.
    assert form.signed("timestamp.json")["version"] > adopted.foreign.versions["timestamp"]
    assert all(int(file.partition(".")[0]) > adopted.foreign.versions["targets"] for file in form.published_roles().values())
    form.wait_tough("new.bin", sha256(b"uploaded here"))
    assert form.tufline("reconcile", operator=True, variables=adopted.ceremony.variables).returncode == DONE


def test_all_online_keys_are_replaced_under_load(adopted: Adopted):
    ceremony, form = adopted.ceremony, adopted.form
    rotation, bins = Rotation(ceremony, *ROLES), Rotation(ceremony, "bins")
    assert len(form.published_roles()) > 16 and rotation.steps() == bins.steps() == {"rested"}
    # A new deployment makes the emulator stop running functions. Their messages come again in time.
    with form.visibility(10):
        ceremony.add_online_keys(*ROLES, "bins")
        # The emulator has time for two uploads a second, with all these devices.
        with Fleet(form, pause=0.5) as fleet:
            assert rotation.steps() == {"untrusted"}
            fleet.goes_on()
            adopted.sign(3, 4)
            ceremony.publish("3.root.json")
            with ceremony.refreshing():
                bins.wait("unused")
                rotation.wait("signed")
            ceremony.publish("4.root.json")
            assert rotation.steps() == {"unused"}
            ceremony.drop_old_online_keys(*ROLES, "bins")
            fleet.goes_on()
    for role in (*ROLES, "bins"):
        old, new = ceremony.variables[f"TUFLINE_KEY_{role.upper()}"].split(",")
        states = [form.connect("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for key in (old, new)]
        assert states == ["PendingDeletion", "Enabled"], role
    for device in adopted.devices:
        assert device.client.find([STEADY]) == {STEADY: sha256(b"steady")}


def test_a_kms_key_that_is_deleted_by_mistake_comes_back(adopted: Adopted):
    ceremony, form, kms = adopted.ceremony, adopted.form, adopted.form.connect("kms")
    key = ceremony.variables["TUFLINE_KEY_TIMESTAMP"].split(",")[-1]
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    started, device = time.time(), adopted.devices[0].client
    with form.tries(1), form.visibility(2):
        form.put("drill", b"1")
        # The condition of the alarm.
        until("a dead letter of publish", lambda: form.dead_letters()["publish-dlq.fifo"], 60)
    assert "is pending deletion" in form.log("publish", started)
    assert device.find(["drill", "new.bin"]) == {"drill": None, "new.bin": sha256(b"uploaded here")}
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    with ceremony.refreshing():
        form.wait_published({"drill": sha256(b"1")}, device=device)
    form.wait_tough("drill", sha256(b"1"))


def test_people_sign_the_targets_role_and_replace_the_key_of_the_bins(adopted: Adopted):
    people, form = adopted.ceremony, adopted.form
    tara, tess = Holder("tara", people.folder), Holder("tess", people.folder, "--ed25519")
    rotation, before = Rotation(people, "bins"), people.targets_version()
    with form.visibility(10):
        people.take_over(tara, tess)
        both, alone = people.targets_version(), people.version_in(DOCUMENTS[1])
        with people.refreshing():
            told = rotation.wait("signed")["bins"]
            assert "tufline targets publish targets.2.json" in told["next"], told
            people.publish_targets(DOCUMENTS[1])
            assert len(people.wait_for_targets(alone)) == 2
            rotation.wait("unused")
    old, new = people.bins_keys(before), people.bins_keys(alone)
    assert len(old) == len(new) == 1 and sorted(old + new) == sorted(people.bins_keys(both))
    people.publication_refused(why="which `tufline targets next` did not give out since")
    expected = {"new.bin": sha256(b"uploaded here"), "wake/up": sha256(str(alone).encode())}
    for device in adopted.devices:
        assert device.client.find(expected) == expected
    form.wait_tough("new.bin", sha256(b"uploaded here"))
