"""A thief of one role's credentials deceives no device, and once the thief is silent, everything is
published again. Prints a table.

Each thief uses the real keys of a role, and does what its policy allows. One deployment is robbed
again and again: what a thief made stays there, as it would in reality.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from cloud_lib import emulator, users
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Metadata, Snapshot, TargetFile, Targets, Timestamp

from .attempts import Identity
from .cloud import CloudForm
from .device import Device, sha256
from .forger import Forger, compact, content, written
from .form import DONE
from .holders import Holder
from .party import Party
from .polling import until
from .test_delegations import expect_refusal, state
from .variant import Variant

pytestmark = pytest.mark.emulator

# No document of the targets family may be valid for longer, by the deployment's policy.
LONGEST = timedelta(days=91)
FAR = "2999-01-01T00:00:00Z"

# What each thief tried, and the result.
TABLE: list[tuple[str, str, str]] = []


class Robbed:
    """A deployment, and a device that follows it from the beginning."""

    def __init__(self, own: Variant) -> None:
        self.own = own
        self.folder = own.unique("robbed")
        self.veteran = own.device()
        self.expected: dict[str, str | None] = {}
        for name, data in (("fw", b"old firmware"), ("other", b"other")):
            self.publish(name, data)
        self.old_version = self.version("fw")
        self.publish("fw", b"new firmware!")

    def name(self, what: str) -> str:
        return f"{self.folder}/{what}"

    def publish(self, what: str, data: bytes) -> None:
        self.own.put(self.name(what), data)
        self.expected[self.name(what)] = sha256(data)
        self.own.wait_published(self.expected)

    def version(self, what: str) -> str:
        """The current version of the upload."""
        return self.own.admin_s3.head_object(Bucket=self.own.bucket, Key=self.own.key(self.name(what)))["VersionId"]

    def stolen(self, stage: str) -> Identity:
        """The keys of a function's role, from its process."""

        def running() -> dict[str, str] | None:
            environments = self.own.function_environments().values()
            return next((environment for environment in environments if environment["_HANDLER"] == stage), None)

        if not running():
            self.publish("awake", os.urandom(8))
        environment = until("running", running)
        names = ("access_key_id", "secret_access_key", "session_token")
        return Identity(self.own, {name: environment[f"AWS_{name.upper()}"] for name in names})

    def shown(self) -> set[int]:
        """All generations that any timestamp ever showed."""
        repository = self.own.endpoints["repository_bucket"]
        pages = self.own.admin_s3.get_paginator("list_object_versions").paginate(Bucket=repository, Prefix="metadata/timestamp.json")
        shown = set()
        for version in [version["VersionId"] for page in pages for version in page["Versions"]]:
            body = self.own.admin_s3.get_object(Bucket=repository, Key="metadata/timestamp.json", VersionId=version)["Body"]
            shown.add(json.load(body)["signed"]["meta"]["snapshot.json"]["version"])
        return shown

    def verdict(self, generation: int, since: float) -> str:
        """Why a forged generation was not signed."""
        record = f"refused/{generation:020}.json"

        def found() -> str | None:
            if self.own.keys("ledger_bucket", record):
                return json.load(self.own.admin_s3.get_object(Bucket=self.own.endpoints["ledger_bucket"], Key=record)["Body"])["reason"]
            passed = [line for line in self.own.log("sign", since).splitlines() if "generation passed over" in line]
            return "passed over" if any(json.loads(line)["generation"] >= generation for line in passed) else None

        return until("judged", found, 30, 0.2)

    def unharmed(self, *forged: int) -> None:
        """Checks that devices see what was uploaded and nothing else, and that a new upload is
        published."""
        # Before anything else: the forgery must not be visible even for a moment.
        assert self.own.device().find(self.expected) == self.expected
        assert self.veteran.find(self.expected) == self.expected
        self.publish(f"after-{len(TABLE)}", os.urandom(16))
        assert self.veteran.find(self.expected) == self.expected
        assert self.own.listed() == {name for name, digest in self.expected.items() if digest}
        assert not self.shown() & set(forged)
        latest = written(datetime.now(UTC) + LONGEST)
        generation = self.own.published_generation()
        for file in [*self.own.published_roles().values(), f"{generation}.snapshot.json"]:
            assert self.own.signed(file)["expires"] < latest, file
        assert not any("delegations" in self.own.signed(file) for file in self.own.published_roles().values())


@pytest.fixture(scope="module")
def robbed(deploy: Callable[..., Variant]) -> Iterator[Robbed]:
    own = deploy("Thieves", {"access": "open"})
    yield Robbed(own)
    for name in own.dead_letters():
        own.sqs.purge_queue(QueueUrl=own.endpoints["queues"][name])


def operator(own: Variant) -> Identity:
    """A new user with the deployment's policy for operators."""
    keys = own.new_user("thief")
    policy = f"arn:aws:iam::{emulator.ACCOUNT}:policy/{own.stack}-operator-{emulator.REGION}"
    own.connect("iam").attach_user_policy(UserName=keys["user"], PolicyArn=policy)
    return Identity(own, keys)


class paused:
    """Disconnects a stage from its queue during the block."""

    def __init__(self, own: CloudForm, stage: str) -> None:
        self._lambda = own.connect("lambda")
        found = self._lambda.list_event_source_mappings(FunctionName=own.function(stage)["FunctionName"])
        self._ids = [mapping["UUID"] for mapping in found["EventSourceMappings"]]

    def _enable(self, enabled: bool) -> None:
        for uuid in self._ids:
            self._lambda.update_event_source_mapping(UUID=uuid, Enabled=enabled)

    def __enter__(self) -> None:
        self._enable(False)
        time.sleep(1)  # what is being handled comes to its end

    def __exit__(self, *error: object) -> None:
        self._enable(True)


def test_the_forger_makes_what_rebuild_makes(robbed: Robbed):
    """Otherwise the lies below could be refused for their format."""
    own, forger = robbed.own, Forger(robbed.own, robbed.stolen("rebuild"))
    with paused(own, "rebuild"):
        for what, data in (("forged", b"one"), ("fw", b"newest firmware")):
            own.put(robbed.name(what), data)
            robbed.expected[robbed.name(what)] = sha256(data)
        until("hashed", lambda: own.waiting(own.queue("changes")) >= 2 and not own.waiting(own.queue("uploads")), 60)
        claims = {robbed.name("forged"): (content(b"one"), robbed.version("forged"))}
        claims[robbed.name("fw")] = (content(b"newest firmware"), robbed.version("fw"))
        generation = forger.generation(claims)
        own.wait_published(robbed.expected)
    assert generation in robbed.shown()
    robbed.unharmed()


# The thief's claims and twist, and the expected refusal, by the table's name for the lie.
Lie = tuple[Callable[[Robbed], dict], Callable[[dict, dict], None] | None, str]


def an_expiry(manifest: dict, document: dict) -> None:
    document["expires"] = FAR


def a_policy(manifest: dict, document: dict) -> None:
    seconds = int((datetime(2999, 1, 1, tzinfo=UTC) - datetime.fromisoformat(manifest["created"])).total_seconds())
    manifest["policy"] = {**manifest["policy"], "targets_seconds": seconds}
    document["expires"] = FAR


def an_unsaid_target(manifest: dict, document: dict) -> None:
    document["targets"]["gateway/unsaid"] = {"hashes": {"sha256": sha256(b"evil")}, "length": 4}
    manifest["targets"] += 1


def numbers_far_above(manifest: dict, document: dict) -> None:
    manifest["first"] += 1 << 30
    manifest["serial"] = document["version"] = manifest["first"] + 1


LIES: dict[str, Lie] = {
    "another upload's bytes": (lambda it: {it.name("fw"): (content(b"other"), it.version("other"))}, None, "passed over"),
    "a name that nobody uploaded": (lambda it: {it.name("never"): (content(b"other"), "none")}, None, "passed over"),
    "a target taken away": (lambda it: {it.name("other"): None}, None, "passed over"),
    "a target that it doesn't tell of": (lambda it: {}, an_unsaid_target, "is not what its changes make"),
    "a document in force until 2999": (lambda it: {}, an_expiry, "is not what its changes make"),
    "a policy by which it is": (lambda it: {}, a_policy, "its policy is neither"),
    "numbers far above": (lambda it: {}, numbers_far_above, "it takes numbers that are not the next ones"),
}


@pytest.mark.parametrize("what", LIES)
def test_rebuilds_thief_makes_a_generation(robbed: Robbed, what: str):
    attempt(robbed, "rebuild", robbed.stolen("rebuild"), what)


def test_an_operators_thief_makes_a_generation(robbed: Robbed):
    attempt(robbed, "operator", operator(robbed.own), "another upload's bytes")


def attempt(robbed: Robbed, who: str, identity: Identity, what: str) -> None:
    claims, twist, why = LIES[what]
    since = time.time()
    generation = Forger(robbed.own, identity).generation(claims(robbed), twist)
    assert why in robbed.verdict(generation, since)
    robbed.unharmed(generation)
    TABLE.append((who, f"makes a generation with {what}", "not signed"))


def test_rebuilds_thief_goes_back_to_an_upload_of_a_minute_ago(robbed: Robbed):
    """Devices may see that, since some time passes between a look at an upload and its publication.
    But the upload is checked again, without any order of the thief's."""
    robbed.publish("back", b"version one")
    one = content(b"version one"), robbed.version("back")
    robbed.publish("back", b"version two")
    forger = Forger(robbed.own, robbed.stolen("rebuild"))
    generation = forger.generation({robbed.name("back"): one})
    until("shown", lambda: generation in robbed.shown(), 30, 0.2)
    robbed.own.wait_published(robbed.expected)
    robbed.unharmed()
    TABLE.append(("rebuild", "goes back to an upload of the last ten minutes", "seen for some seconds"))


@pytest.mark.parametrize("decided", [False, True], ids=["nobody decided", "a decision made up"])
def test_rebuilds_thief_makes_itself_a_party(robbed: Robbed, decided: bool):
    """The party has delivered a good document, so that devices would look there."""
    own, forger, since = robbed.own, Forger(robbed.own, robbed.stolen("rebuild")), time.time()
    signer = CryptoSigner.generate_ecdsa()
    key, keyid, paths = signer.public_key.to_dict(), signer.public_key.keyid, ["gateway/*"]
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    evil = {"gateway/fw": TargetFile.from_data("gateway/fw", b"other", ["sha256"])}
    metadata = Metadata(Targets(version=1, expires=expires, targets=evil))
    metadata.sign(signer)
    delivered = metadata.to_bytes()
    digest = forger.keep("delivered", delivered)
    document = {"version": 1, "length": len(delivered), "sha256": digest, "expires": written(expires)}
    party = {"paths": paths, "keys": [key], "threshold": 1, "state": "listed"}
    parties = {"format": 1, "parties": {"thief": party}, "documents": {"thief": document}}
    record = forger.keep("parties", compact(parties))

    def twist(manifest: dict, targets: dict) -> None:
        manifest |= {"parties": record, "party_changes": {"thief": {"state": "listed", "document": document}}}
        if decided:
            manifest["decisions"] = manifest.get("decisions", 0) + 1
        role = {"name": "thief", "keyids": [keyid], "threshold": 1, "paths": paths, "terminating": True}
        targets["delegations"] = {"keys": {keyid: key}, "roles": [role]}

    generation = forger.generation({}, twist)
    assert ("which nobody made" if decided else "follows from no decision") in robbed.verdict(generation, since)
    robbed.unharmed(generation)
    assert robbed.own.device().find(["gateway/fw"]) == {"gateway/fw": None}
    TABLE.append(("rebuild", f"makes itself a party, {'by a decision made up' if decided else 'by no decision'}", "not signed"))
    assert not own.keys("ledger_bucket", "decisions/")


def test_rebuilds_thief_writes_garbage_where_the_next_generation_belongs(robbed: Robbed):
    forger = Forger(robbed.own, robbed.stolen("rebuild"))
    generation = robbed.own.generation() + 1
    forger.create("ledger_bucket", f"generations/{generation:020}.json", b'{"format":1,"garbage":true}')
    robbed.unharmed(generation)
    TABLE.append(("rebuild", "writes garbage in the place of a generation", "left out"))


def test_rebuilds_thief_withholds_a_draft(robbed: Robbed):
    """The generation itself is correct, so it is shown; the next stage works without the draft."""
    forger = Forger(robbed.own, robbed.stolen("rebuild"))
    keep, forger.keep = forger.keep, lambda folder, data: sha256(data) if folder == "drafts" else keep(folder, data)
    generation = forger.generation({})
    until("shown", lambda: generation in robbed.shown(), 30, 0.2)
    robbed.unharmed()
    TABLE.append(("rebuild", "withholds a draft", "read from what was signed"))


def test_an_operators_thief_decides_what_nobody_can_read(robbed: Robbed):
    """Nobody can remove the decision again."""
    own, forger = robbed.own, Forger(robbed.own, operator(robbed.own))
    before = own.generation()
    number = forger.manifest(before).get("decisions", 0) + 1
    forger.create("ledger_bucket", f"decisions/{number:020}.json", b"{}")
    forger.send("changes", {"changes": ["decision"]})
    until("counted", lambda: any(made.get("decisions") == number for made in own.manifests(before)), 30, 0.2)
    robbed.unharmed()
    assert not any(own.dead_letters().values()), own.dead_letters()
    TABLE.append(("operator", "writes garbage in the place of a decision", "counted, and left out"))


# Sign


def test_signs_thief_signs_targets_under_the_next_number(robbed: Robbed):
    own, forger = robbed.own, Forger(robbed.own, robbed.stolen("sign"))
    version = _sign_ahead(robbed, forger)
    robbed.unharmed()
    assert f"{version}.targets.json" not in own.published_roles().values()
    TABLE.append(("sign", "signs targets ahead, under the next number", "refused, and the number left out"))


def _sign_ahead(robbed: Robbed, forger: Forger) -> int:
    """Signs an older upload's bytes, and returns the document's number."""
    metadata = forger.targets()
    published = robbed.own.published_generation()
    serial = max(made["serial"] for made in [forger.manifest(published), *robbed.own.manifests(published)])
    metadata.signed.version = serial + 1
    metadata.signed.targets[robbed.name("fw")] = TargetFile.from_data(robbed.name("fw"), b"old firmware", ["sha256"])
    forger.create("repository_bucket", f"metadata/{serial + 1}.targets.json", forger.signed(metadata, "targets"))
    return serial + 1


def test_signs_thief_signs_a_whole_generation_ahead(robbed: Robbed):
    """Both documents: rebuild's next generation has exactly these numbers."""
    own, forger = robbed.own, Forger(robbed.own, robbed.stolen("sign"))
    version = _sign_ahead(robbed, forger)
    generation = own.generation() + 1
    file = f"metadata/{own.published_generation()}.snapshot.json"
    snapshot: Metadata[Snapshot] = Metadata.from_bytes(forger.read("repository_bucket", file))
    snapshot.signed.version = generation
    snapshot.signed.meta["targets.json"] = MetaFile(version)
    forger.create("repository_bucket", f"metadata/{generation}.snapshot.json", forger.signed(snapshot, "snapshot"))
    forger.send("publish", "publish")
    robbed.unharmed(generation)
    assert f"{version}.targets.json" not in own.published_roles().values()
    TABLE.append(("sign", "signs targets and a snapshot ahead", "refused, and the numbers left out"))


# Hash


def test_hashs_thief_forges_a_receipt(robbed: Robbed):
    """For a version whose SHA-256 S3 keeps."""
    own, forger, name = robbed.own, Forger(robbed.own, robbed.stolen("hash")), robbed.name("receipt")
    good, evil = os.urandom(16), os.urandom(16)
    with paused(own, "hash"):
        place = {"Bucket": own.bucket, "Key": own.key(name)}
        version = own.s3.put_object(**place, Body=good, ChecksumAlgorithm="SHA256")["VersionId"]
        forger.create("repository_bucket", f"blobs/{sha256(evil)}", evil)
        receipt = compact({"format": 1, **content(evil)})
        forger.create("ledger_bucket", f"hashed/{sha256(name.encode())}/{version}.json", receipt)
        forger.send("changes", {"changes": [{"set": {"name": name, "version": version}}]})
        until("handled", lambda: own.waiting(own.queue("changes")) == 0, 30, 0.2)
        assert own.device().find([name])[name] != sha256(evil)
    robbed.expected[name] = sha256(good)
    own.wait_published(robbed.expected)
    robbed.unharmed()
    assert own.device().download_bytes(name) == good
    TABLE.append(("hash", "forges a receipt, where S3 keeps a digest", "S3 is believed"))


def test_hashs_thief_forges_changes(robbed: Robbed):
    own, forger = robbed.own, Forger(robbed.own, robbed.stolen("hash"))
    changes: list[dict] = [
        {"set": {"name": robbed.name("fw"), "version": robbed.old_version}},
        {"set": {"name": robbed.name("never"), "version": robbed.old_version}},
        {"remove": {"name": robbed.name("fw"), "marker": None}},
        {"look": {"name": robbed.name("never")}},
        {"void": {"generation": own.generation()}},
        {"void": {"generation": own.generation() + 1}},
        "decision",
        {"delivery": {"role": "thief"}},
    ]
    for change in changes:
        forger.send("changes", {"changes": [change]})
    until("handled", lambda: own.waiting(own.queue("changes")) == 0, 60, 0.2)
    robbed.unharmed()
    assert not any(own.dead_letters().values()), own.dead_letters()
    TABLE.append(("hash", "forges changes", "looked at, and nothing found"))


def test_hashs_thief_takes_the_place_of_a_blob(robbed: Robbed):
    """Before the matching upload comes, with as many bytes, for an upload without a SHA-256 in
    S3."""
    own, forger, name = robbed.own, Forger(robbed.own, robbed.stolen("hash")), robbed.name("fw")
    good = os.urandom(16)
    forger.create("repository_bucket", f"blobs/{sha256(good)}", os.urandom(16))
    robbed.publish("fw", good)
    with pytest.raises(Exception, match="hash"):
        own.device().download(name)
    robbed.unharmed()
    # An uploader of something else is served.
    better = os.urandom(17)
    robbed.publish("fw", better)
    assert own.device().download_bytes(name) == better
    TABLE.append(("hash", "puts other bytes where an upload's will be", "that upload can't be downloaded"))


# Those outside


def test_an_uploaders_thief_keeps_to_its_prefix(robbed: Robbed):
    own = robbed.own
    prefix = f"{robbed.folder}-team/"
    keys = users.uploading(own.endpoints["aws"], own.variables(), f"{own.stack}-team", "--prefix", prefix)
    s3 = Identity(own, keys).client("s3")
    refused(s3, own, own.key(robbed.name("fw")))
    refused(s3, own, "delegations/thief.json")
    s3.put_object(Bucket=own.bucket, Key=own.key(f"{prefix}own"), Body=b"own")
    robbed.expected[f"{prefix}own"] = sha256(b"own")
    own.wait_published(robbed.expected)
    robbed.unharmed()
    TABLE.append(("uploader with a prefix", "uploads another's name", "denied by S3"))


def refused(s3, own: CloudForm, key: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=own.bucket, Key=key, Body=b"evil")


def test_publishs_thief_shows_an_old_generation(robbed: Robbed):
    """What remains possible: a device without any state believes it until the next publication. A
    device that knows better keeps what it has."""
    own, forger = robbed.own, Forger(robbed.own, robbed.stolen("publish"))
    old = own.published_generation()
    robbed.publish("fw", os.urandom(18))
    assert robbed.veteran.find(robbed.expected) == robbed.expected
    read = own.admin_s3.get_object(Bucket=own.endpoints["repository_bucket"], Key="metadata/timestamp.json")
    timestamp: Metadata[Timestamp] = Metadata.from_bytes(read["Body"].read())
    snapshot = forger.read("repository_bucket", f"metadata/{old}.snapshot.json")
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = MetaFile(old, len(snapshot), {"sha256": sha256(snapshot)})
    place = {"Bucket": own.endpoints["repository_bucket"], "Key": "metadata/timestamp.json"}
    publish = forger.identity.client("s3")
    publish.put_object(**place, Body=forger.signed(timestamp, "timestamp"), IfMatch=read["ETag"])
    new = own.device()
    deceived = new.find([robbed.name("fw")])[robbed.name("fw")] != robbed.expected[robbed.name("fw")]
    with pytest.raises(Exception, match="version"):
        robbed.veteran.update()
    robbed.publish("after-publish", os.urandom(16))
    assert robbed.veteran.find(robbed.expected) == new.find(robbed.expected) == robbed.expected
    TABLE.append(("publish, refresh", "shows an old generation", f"{'new devices see it' if deceived else 'nobody sees it'} until the next"))


def test_a_partys_thief_keeps_to_its_names(robbed: Robbed, tmp_path: Path):
    """The last test, since the party stays from here on."""
    own = robbed.own
    role = "vendor-x"
    # As `grantDelivery` grants it; cdk/test checks the exact policy.
    paths = [f"{robbed.folder}-vendor/*"]
    resources = [f"arn:aws:s3:::{own.bucket}/{key}" for key in (f"delegations/{role}.json", *(own.key(path) for path in paths))]
    keys = own.new_user("party", {"Effect": "Allow", "Action": "s3:PutObject", "Resource": resources})
    s3 = Identity(own, keys).client("s3")
    refused(s3, own, own.key(robbed.name("fw")))
    refused(s3, own, "delegations/other.json")

    party = Party(own, tmp_path, role, Holder("vera", tmp_path))
    done = own.tufline("delegation", "create", role, "--paths", *paths, *party.holders[0].key, operator=True)
    assert done.returncode == DONE, done.stderr
    name, stolen = f"{robbed.folder}-vendor/a", robbed.name("fw")
    place = party.targets / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"vendor's")
    s3.put_object(Bucket=own.bucket, Key=own.key(name), Body=b"vendor's")
    s3.put_object(Bucket=own.bucket, Key=f"delegations/{role}.json", Body=party.sign().file.read_bytes())
    own.wait_published({name: sha256(b"vendor's")})

    party.with_python_tuf(2, party.holders[0], state(own, role), {name: b"vendor's", stolen: b"old firmware"})
    s3.put_object(Bucket=own.bucket, Key=f"delegations/{role}.json", Body=party.file.read_bytes())
    expect_refusal(own, role, f"it lists {stolen}")
    assert own.device().find(robbed.expected) == robbed.veteran.find(robbed.expected) == robbed.expected
    robbed.publish("after-party", os.urandom(16))
    assert robbed.veteran.find([name, *robbed.expected]) == {name: sha256(b"vendor's"), **robbed.expected}
    TABLE.append(("party", "signs for a name that is not its own", "its document is refused"))


def test_what_a_thief_gets(robbed: Robbed):
    """Prints the table of all attempts."""
    print("\nwhose keys                what the thief does                                         what comes of it")
    for who, what, came in TABLE:
        print(f"  {who:24}{what:60}{came}")
    assert isinstance(robbed.veteran, Device)
    tried = {who for who, _, _ in TABLE}
    assert {"rebuild", "sign", "hash", "operator", "publish, refresh", "party"} <= tried
