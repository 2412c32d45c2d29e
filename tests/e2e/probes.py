"""Runs of single stages, each in a situation in which the stage needs certain permissions."""

import base64
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import pytest

from .cloud import CloudForm
from .device import sha256
from .form import DONE
from .holders import Holder
from .party import Party
from .permissions import CONSUMES, Permissions
from .polling import until
from .test_queues import message, s3_event

# A run of a stage in some situation. It raises :class:`StageFailed` where the stage didn't do its work.
Probe = Callable[[], None]

# An upload that is refused wherever it is looked at.
BAD_CUSTOM = {"tuf-custom": '{"a":1.5}'}

# So refresh finds what publish has just signed due.
LONG_TIMESTAMP = {"expiry": {"timestamp": "4 days"}}
# So other probes' uploads are not large for hash, and one of another is.
LARGEST_FOR_HASH = 64
PASSED_ON = {"large_uploads": {"above": LARGEST_FOR_HASH}}
# So what is read in one run and copied whole has 8 bytes, what is copied whole 16, and what has 24 is copied in parts.
LARGE = {"large_uploads": {"above": 0, "piece": 8, "run": 8, "copy_above": 16, "copy_part": 8}}
# So a single removal is held, and no two targets stay in one role.
STRICT = {"removals": {"percent": 0, "at_least": 0}, "max_targets_per_bin": 1}

# How long a message that is looked at stays hidden, in seconds: less than one that a stage has returned.
HIDDEN = 2


class StageFailed(Exception):
    """A stage failed: which, and what it answered and logged."""

    def __init__(self, stage: str, log: str) -> None:
        super().__init__(log)
        self.stage = stage


def harmless(queue: str) -> str:
    """A message that its stage can read, and that asks for nothing new."""
    return {
        "uploads": message({"uploads": [{"name": "permissions"}]}),
        "large": message({"large": {"name": "permissions"}}),
        "changes": message({"changes": []}),
        "sign": message("sign"),
        "publish": message("publish"),
    }[queue]


@contextlib.contextmanager
def held_still(cloud: CloudForm, permissions: Permissions) -> Iterator[None]:
    """Nothing runs by itself within the block: neither what queues wake, nor what the schedule does."""
    client = cloud.connect("lambda")
    mappings: list[dict] = []
    for function in permissions.functions.values():
        mappings += client.list_event_source_mappings(FunctionName=function["FunctionName"])["EventSourceMappings"]

    def enable(enabled: bool) -> None:
        for mapping in mappings:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)

    def idle() -> bool:
        return not any(cloud.waiting(cloud.queue(queue)) for queue in CONSUMES.values())

    until("idle", idle, 60, 0.2)
    with schedule_stopped(cloud, permissions.functions["refresh"]["FunctionArn"]):
        enable(False)
        try:
            until("still", idle, 60, 0.2)
            yield
        finally:
            enable(True)
    # What was sent meanwhile is handled, so that the next test finds nothing of it.
    until("idle again", idle, 120, 0.2)


@contextlib.contextmanager
def schedule_stopped(cloud: CloudForm, function: str) -> Iterator[None]:
    """The schedule that wakes `function` doesn't within the block."""
    scheduler = cloud.connect("scheduler")
    found = [entry for page in scheduler.get_paginator("list_schedules").paginate() for entry in page["Schedules"]]
    (name,) = [entry["Name"] for entry in found if entry["Target"]["Arn"] == function]
    schedule = scheduler.get_schedule(Name=name)
    # An update wants all of it, but not what the scheduler itself says of it.
    for field in ("ResponseMetadata", "Arn", "CreationDate", "LastModificationDate"):
        schedule.pop(field, None)
    scheduler.update_schedule(**{**schedule, "State": "DISABLED"})
    try:
        yield
    finally:
        scheduler.update_schedule(**schedule)


class Bench:
    """A pipeline that is held still, and the probes of its stages."""

    def __init__(self, cloud: CloudForm, permissions: Permissions) -> None:
        self.cloud = cloud
        self.functions = permissions.functions
        self.folder = cloud.unique("permissions")
        self._lambda = cloud.connect("lambda")
        self.probes: dict[str, dict[str, Probe]] = {
            "hash": {
                "an upload": self.hash_an_upload,
                "an upload with a bad name": self.hash_a_bad_name,
                "a bad overwrite": self.hash_a_bad_overwrite,
                "a name without an upload": self.hash_nothing,
                "a large upload": self.hash_a_large_one,
                "a document of another party": self.hash_a_delivery,
            },
            "large": {
                "an upload": self.large_in_one_run,
                "an upload that takes several runs": self.large_in_two_runs,
                "an upload that is copied in parts": self.large_in_parts,
                "an upload with a bad name": lambda: self.large("a b", self.put("a b")),
                "a bad overwrite": lambda: self.large("overwritten", self._overwrite()[1]),
                "a name without an upload": lambda: self.large("never", "none"),
            },
            "rebuild": {
                "a renewal": self.rebuild_a_role,
                "a generation that waits": self.rebuild_on_another,
                "a decision of an operator": self.decide,
                "a renewal of a bin": self.rebuild_a_bin,
                "a key of the bins to replace": lambda: self.change("replace-bins-key"),
                "an upload without a receipt": self.rebuild_unhashed,
                "a bad overwrite": self.rebuild_a_bad_overwrite,
                "a name without an upload": self.rebuild_nothing,
                "a removal that is held": self.rebuild_a_held_removal,
                "a document of another party": self.rebuild_a_delivery,
            },
            "sign": {
                "a generation that waits": self.sign_one,
                "several generations that wait": self.sign_waiting_ones,
                "a bin that waits": self.sign_a_bin,
                "a new target": self.sign_a_target,
                "a target that was overwritten": self.sign_an_overwritten_one,
                "a target that is gone for good": self.sign_a_purged_one,
                "a document of another party": self.sign_a_delivery,
                "a decision of an operator": self.sign_a_decision,
                "a generation that is made up": self.sign_a_made_up_one,
            },
            "publish": {
                "a document of another party": self.publish_a_delivery,
                "a signed generation": self.publish_one,
                "a bin": self.publish_a_bin,
                "a new target": self.publish_a_target,
                "a target that was overwritten": self.publish_an_overwritten_one,
                "a target that is gone for good": self.publish_a_purged_one,
                "a decision of an operator": self.publish_a_decision,
                "a generation that was passed over": self.publish_after_another,
                "events not sent yet": self.publish_untold,
                "a generation that the gate refuses": self.publish_a_refused_one,
                "a generation that is not signed": self.publish_an_unsigned_one,
            },
            "refresh": {
                "nothing to do": self.refresh,
                "several generations that wait": self.refresh_waiting_ones,
                "a document of another party": self.refresh_after_a_delivery,
                "a timestamp that is due": self.refresh_a_due_timestamp,
                "events not sent yet": self.refresh_untold,
                **{f"a dead letter of {queue}": self.refresh_a_dead_letter(queue) for queue in CONSUMES.values()},
            },
            "serve": {
                "a metadata file": self.serve_metadata,
                "a target": self.serve_a_target,
                "chunks of a target": self.serve_chunks,
                "a root that isn't there": self.serve_no_root,
            },
            "pack": {
                "a pack": self.pack,
                "a pack with a small target": self.pack_with_a_target,
            },
        }
        for stage in CONSUMES:
            self.probes[stage]["a message that fails"] = lambda stage=stage: self.return_a_message(stage)
        self._publish_first()

    def _publish_first(self) -> None:
        """Publishes a target, and another one that is gone from the uploads then."""
        self.data = os.urandom(16)
        self._publish("published", self.data)
        self.told = self.cloud.generation()
        self._publish("removed", os.urandom(16))
        self._delegate()
        self.marker = self.cloud.s3.delete_object(Bucket=self.cloud.bucket, Key=self.key("removed"))["VersionId"]

    def _delegate(self) -> None:
        """Hands names to another party, which delivers a first document."""
        folder = Path(tempfile.mkdtemp(prefix="party-", dir=self.cloud.scratch))
        self.party = Party(self.cloud, folder, "party-x", Holder("vera", folder))
        paths = ["--paths", self.name("party/*")]
        done = self.cloud.tufline("delegation", "create", "party-x", *paths, *self.party.holders[0].key, operator=True)
        assert done.returncode == DONE, done.stderr
        self.publish_a_delivery()

    # Running stages

    def run(self, stage: str, body: str, **record: object) -> str:
        """Gives a stage one message, as its event source mapping does; answers the end of its log.

        <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>
        """
        record = {
            "messageId": "1",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "awsRegion": self.cloud.endpoints["region"],
            **record,
        }
        answer, log = self.invoke(stage, {"Records": [record]})
        if answer["batchItemFailures"]:
            raise StageFailed(stage, log)
        return log

    def invoke(self, stage: str, event: dict) -> tuple[dict, str]:
        """Runs a stage once; answers what it answered, and the end of its log."""
        name, payload = self.functions[stage]["FunctionName"], json.dumps(event).encode()
        answer = self._lambda.invoke(FunctionName=name, Payload=payload, LogType="Tail")
        log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        result = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise StageFailed(stage, f"{json.dumps(result)} {log}")
        return result, log

    def forget(self, stage: str) -> None:
        """A stage starts anew: it remembers no public key."""
        for pid in self.processes(stage):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("gone", lambda: not self.processes(stage))

    def processes(self, stage: str) -> dict[int, dict[str, str]]:
        """The processes of a stage of this deployment, each with its environment."""
        ours = self.cloud.function_environments()
        return {pid: environment for pid, environment in ours.items() if environment["_HANDLER"] == stage}

    def keys(self, stage: str) -> dict[str, str]:
        """The keys of a stage's role, as one of its processes has them."""
        if not self.processes(stage):
            next(iter(self.probes[stage].values()))()
        environment = next(iter(self.processes(stage).values()))
        return {name: environment[f"AWS_{name.upper()}"] for name in ("access_key_id", "secret_access_key", "session_token")}

    # Making a situation

    def name(self, what: str) -> str:
        """The name of a target of these probes."""
        return f"{self.folder}/{what}"

    def key(self, what: str) -> str:
        """The key of its upload."""
        return self.cloud.key(self.name(what))

    def put(self, what: str, data: bytes | None = None, **options: object) -> str:
        """Uploads something, new bytes unless told otherwise; answers its version."""
        data = os.urandom(16) if data is None else data
        return self.cloud.s3.put_object(Bucket=self.cloud.bucket, Key=self.key(what), Body=data, **options)["VersionId"]

    def _publish(self, what: str, data: bytes) -> None:
        """Brings an upload through all stages."""
        version = self.put(what, data)
        self.hash(what, version)
        self.change({"set": {"name": self.name(what), "version": version}})
        self.publish_what_waits()

    def publish_what_waits(self) -> None:
        self.run("sign", message("sign"))
        self.run("publish", message("publish"))

    def hash(self, what: str, version: str) -> None:
        """Gives hash what S3 says of an upload."""
        self.run("hash", s3_event(self.cloud.bucket, quote_plus(self.key(what), safe="/"), version=version))

    def change(self, change: dict | str) -> None:
        """Gives rebuild a change. Of a renewal that fails it only tells: refresh asks again."""
        log = self.run("rebuild", message({"changes": [change]}))
        if "role not renewed" in log:
            raise StageFailed("rebuild", log)

    def renew(self, role: str = "targets") -> int:
        """Has rebuild make a generation with a new version of a role; answers its number."""
        newest = self.cloud.generation()
        version = newest if role == "snapshot" else self.version(role)
        self.change({"renew": {"role": role, "version": version}})
        return newest + 1

    def version(self, role: str) -> int:
        """The newest version of a role's document, published or not; 0 where there is none."""
        published = self.cloud.published_generation()
        version = int(self.cloud.published_roles().get(role, "0.").partition(".")[0])
        waiting = {manifest["generation"]: manifest for manifest in self.cloud.manifests(published)}
        manifest = waiting.get(max(waiting, default=0))
        # Some may be passed by, where their drafts couldn't be read.
        while manifest:
            if changed := manifest["changed"].get(role):
                return changed["version"]
            manifest = waiting.get(manifest["base"])
        return version

    def tell_again(self) -> None:
        """Events seem not to have been sent since before the first target of these probes."""
        body = json.dumps({"format": 1, "generation": self.told - 1}).encode()
        self.cloud.admin_s3.put_object(Bucket=self.cloud.endpoints["ledger_bucket"], Key="announced.json", Body=body)

    # Hash

    def hash_an_upload(self) -> None:
        self.hash("upload", self.put("upload"))

    def hash_a_bad_name(self) -> None:
        self.hash("a b", self.put("a b"))

    def hash_a_bad_overwrite(self) -> None:
        self.hash("overwritten", self._overwrite()[1])

    def _overwrite(self) -> tuple[str, str]:
        """A good upload under a bad one; answers the versions of both."""
        return self.put("overwritten"), self.put("overwritten", Metadata=BAD_CUSTOM)

    def hash_nothing(self) -> None:
        self.hash("never", "none")

    def hash_a_large_one(self) -> None:
        """Under :data:`PASSED_ON`."""
        self.hash("large", self.put("large", os.urandom(LARGEST_FOR_HASH + 1)))

    def hash_a_delivery(self) -> None:
        self._deliver()
        self.run("hash", s3_event(self.cloud.bucket, "delegations/party-x.json", version="none"))

    def _deliver(self) -> None:
        """The party signs and drops a document with a new target."""
        what = f"party/{os.urandom(4).hex()}"
        place = self.party.targets / self.name(what)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(os.urandom(16))
        self.hash(what, self.put(what, place.read_bytes()))
        self.party.sign().deliver()

    # Large: under LARGE

    def large(self, what: str, version: str, runs: int = 1) -> None:
        """Has some runs begin and go on with an upload."""
        for _ in range(runs):
            self.run("large", message({"large": {"name": self.name(what), "version": version}}))

    def large_in_one_run(self) -> None:
        self.large("large", self.put("large", os.urandom(8)))

    def large_in_two_runs(self) -> None:
        self.large("large", self.put("large", os.urandom(16)), runs=2)

    def large_in_parts(self) -> None:
        self.large("large", self.put("large", os.urandom(24)), runs=3)

    # Rebuild

    def rebuild_on_another(self) -> None:
        self.renew()
        self.renew()

    def decide(self) -> None:
        """An operator decides something that changes nothing, and rebuild counts it."""
        number = self._newest_manifest().get("decisions", 0) + 1
        decision = {"format": 1, "role": "nobody", "edit": {"remove": {"release": False}}}
        self._write("ledger_bucket", f"decisions/{number:020}.json", json.dumps(decision).encode())
        self.change("decision")

    def _newest_manifest(self) -> dict:
        (newest,) = self.cloud.manifests(self.cloud.generation() - 1)
        return newest

    def _write(self, bucket: str, key: str, data: bytes) -> None:
        self.cloud.admin_s3.put_object(Bucket=self.cloud.endpoints[bucket], Key=key, Body=data)

    def rebuild_a_role(self, role: str = "targets") -> None:
        """A role that is published: rebuild makes again what only waits and can't be read."""
        self.publish_what_waits()
        self.renew(role)

    def rebuild_a_bin(self) -> None:
        """Under :data:`STRICT`."""
        if not self.version("bin-0"):
            self.renew()
        assert self.version("bin-0"), "it is split"
        self.rebuild_a_role("bin-0")

    def rebuild_unhashed(self) -> None:
        self.change({"set": {"name": self.name("unhashed"), "version": self.put("unhashed")}})

    def rebuild_a_bad_overwrite(self) -> None:
        self.change({"set": {"name": self.name("overwritten"), "version": self._overwrite()[0]}})

    def rebuild_nothing(self) -> None:
        """Also tells that this version will never be published."""
        self.change({"set": {"name": self.name("never"), "version": "none"}})

    def rebuild_a_held_removal(self) -> None:
        """Under :data:`STRICT`."""
        self.change({"remove": {"name": self.name("removed"), "marker": self.marker}})

    def rebuild_a_delivery(self) -> None:
        self._deliver()
        generation = self.cloud.generation()
        self.change({"delivery": {"role": "party-x"}})
        if self.cloud.generation() == generation:
            raise StageFailed("rebuild", "the document was refused: HTTP 403")

    # Sign

    def sign_one(self) -> None:
        self.renew()
        self.run("sign", message("sign"))

    def sign_waiting_ones(self) -> None:
        self.renew()
        self.sign_one()

    def sign_a_bin(self) -> None:
        """Under :data:`STRICT`."""
        data = os.urandom(16)
        for what in ("bin", "another"):
            version = self.put(what, data)
            self.hash(what, version)
            self.change({"set": {"name": self.name(what), "version": version}})
        self.run("sign", message("sign"))

    def sign_a_target(self) -> None:
        self._rebuild_a_target("target")
        self.run("sign", message("sign"))

    def _rebuild_a_target(self, what: str, data: bytes | None = None) -> str:
        """Brings an upload up to sign; answers its version."""
        version = self.put(what, data)
        self.hash(what, version)
        self.change({"set": {"name": self.name(what), "version": version}})
        return version

    def sign_an_overwritten_one(self) -> None:
        """It was what is to be signed a moment ago."""
        self._rebuild_a_target("target")
        self.put("target")
        self.run("sign", message("sign"))

    def sign_a_purged_one(self) -> None:
        """Nobody can tell what it was: its generation is passed over, until one has another."""
        version = self._rebuild_a_target("purged")
        self._purge("purged", version)
        try:
            self.run("sign", message("sign"))
        finally:
            self._rebuild_a_target("purged")

    def _purge(self, what: str, version: str) -> None:
        """Deletes an upload, and all that was there before it, for good."""
        place = {"Bucket": self.cloud.bucket, "Prefix": self.key(what)}
        listed = self.cloud.admin_s3.list_object_versions(**place)
        versions = [entry["VersionId"] for entry in listed.get("Versions", [])]
        assert version in versions
        for each in versions:
            self.cloud.admin_s3.delete_object(Bucket=self.cloud.bucket, Key=self.key(what), VersionId=each)

    def sign_a_delivery(self) -> None:
        self.rebuild_a_delivery()
        self.run("sign", message("sign"))

    def sign_a_decision(self) -> None:
        self.decide()
        self.sign_one()

    def sign_a_made_up_one(self) -> None:
        """One that counts a target more than there is."""
        newest = self._newest_manifest()
        generation, base = newest["generation"] + 1, newest["generation"]
        serial = {"first": newest["serial"], "serial": newest["serial"], "targets": newest["targets"] + 1}
        nothing = {"changed": {}, "changes": [], "party_changes": {}, "waived": [], "renew_snapshot": True}
        made_up = {**newest, **serial, **nothing, "generation": generation, "base": base}
        self._write("ledger_bucket", f"generations/{generation:020}.json", json.dumps(made_up).encode())
        try:
            self.run("sign", message("sign"))
        finally:
            self.change({"void": {"generation": generation}})

    # Publish

    def publish_one(self) -> None:
        self.sign_one()
        self.run("publish", message("publish"))

    def publish_a_delivery(self) -> None:
        self.sign_a_delivery()
        self.run("publish", message("publish"))

    def publish_a_target(self) -> None:
        self._publish("published", os.urandom(16))

    def publish_a_bin(self) -> None:
        """Under :data:`STRICT`."""
        self.sign_a_bin()
        self.run("publish", message("publish"))

    def publish_an_overwritten_one(self) -> None:
        self.sign_an_overwritten_one()
        self.run("publish", message("publish"))

    def publish_a_purged_one(self) -> None:
        version = self._rebuild_a_target("purged")
        self.run("sign", message("sign"))
        self._purge("purged", version)
        try:
            self.run("publish", message("publish"))
        finally:
            self._rebuild_a_target("purged")

    def publish_a_decision(self) -> None:
        self.decide()
        self.publish_one()

    def publish_after_another(self) -> None:
        """What that one would have answered hash must look at again."""
        self._rebuild_a_target("passed-over")
        generation = self.cloud.generation()
        key = f"generations/{generation:020}.json"
        made = self.cloud.admin_s3.get_object(Bucket=self.cloud.endpoints["ledger_bucket"], Key=key)["Body"].read()
        refused = {"format": 1, "manifest": sha256(made), "reason": "a probe", "fault": "void"}
        self._write("ledger_bucket", f"refused/{generation:020}.json", json.dumps(refused).encode())
        self.change({"void": {"generation": generation}})
        self.run("sign", message("sign"))
        self.run("publish", message("publish"))

    def publish_untold(self) -> None:
        self.tell_again()
        self.run("publish", message("publish"))

    def publish_a_refused_one(self) -> None:
        """Its snapshot is none. All before it are signed, or sign would take these for signed too."""
        self.run("sign", message("sign"))
        generation = self.renew("snapshot")
        snapshot = {"Bucket": self.cloud.endpoints["repository_bucket"], "Key": f"metadata/{generation}.snapshot.json"}
        self.cloud.admin_s3.put_object(**snapshot, Body=b"{}", IfNoneMatch="*")
        self.run("publish", message("publish"))

    def publish_an_unsigned_one(self) -> None:
        self.renew()
        self.run("publish", message("publish"))

    # Refresh

    def refresh(self) -> None:
        self.invoke("refresh", {})

    def refresh_waiting_ones(self) -> None:
        """More than are asked for one by one."""
        self.renew()
        self.renew()
        self.refresh()

    def refresh_after_a_delivery(self) -> None:
        self.publish_a_delivery()
        self.refresh()

    def refresh_a_due_timestamp(self) -> None:
        """Under :data:`LONG_TIMESTAMP`."""
        self.publish_one()
        self.refresh()

    def refresh_untold(self) -> None:
        self.tell_again()
        self.refresh()

    def refresh_a_dead_letter(self, queue: str) -> Probe:
        body = harmless(queue)

        def probe() -> None:
            self.send(self.cloud.queue(queue, dead_letters=True), body)
            self.refresh()

        return probe

    # Serve

    def answer(self, stage: str, path: str, status: int, **query: str) -> tuple[dict, str]:
        """What a function answers a device's request that an HTTP API passes on, and the end of its log.

        <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
        """
        http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "e2e"}
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": urlencode(query),
            **({"queryStringParameters": query} if query else {}),
            "headers": {},
            "requestContext": {"http": http, "stage": "$default", "requestId": "1", "timeEpoch": 0},
            "isBase64Encoded": False,
        }
        answer, log = self.invoke(stage, event)
        if answer["statusCode"] != status:
            raise StageFailed(stage, f"{answer['statusCode']} {log}")
        return answer, log

    def serve(self, path: str, status: int) -> None:
        self.answer("serve", path, status)

    def serve_metadata(self) -> None:
        self.serve("/metadata/timestamp.json", 200)

    def serve_a_target(self) -> None:
        self.serve(f"/targets/{self.folder}/{sha256(self.data)}.published", 200)

    def serve_chunks(self) -> None:
        """Of a blob that needs none, stored by hand."""
        self._write("repository_bucket", f"chunks/{sha256(self.data)}", b"list and chunks")
        self.serve(f"/chunks/{self.folder}/{sha256(self.data)}.published", 200)

    def serve_no_root(self) -> None:
        self.serve("/metadata/999.root.json", 404)

    # Pack

    def pack(self, **files: str) -> tuple[int, str]:
        """Asks as a device that has the first root only, with a dictionary that isn't the server's; answers how long the pack is, and the log."""
        answer, log = self.answer("pack", "/pack", 200, have="1.root", dict="0" * 16, **files)
        return len(base64.b64decode(answer["body"])), log

    def pack_with_a_target(self) -> None:
        """Its bytes are random, so nothing makes fewer of them."""
        name = self.name("published")
        role = sha256(name.encode())[:8]
        without, _ = self.pack(roles=role)
        length, log = self.pack(roles=role, files=name)
        if length < without + len(self.data):
            raise StageFailed("pack", f"{length - without} bytes more with a target of {len(self.data)}: {log}")

    # Queues

    def send(self, url: str, body: str) -> None:
        """Sends a message, in a group of its own: one that is being looked at then blocks no other."""
        fifo = ("MessageGroupId", "MessageDeduplicationId") if url.endswith(".fifo") else ()
        self.cloud.sqs.send_message(QueueUrl=url, MessageBody=body, **{field: os.urandom(8).hex() for field in fifo})

    def return_a_message(self, stage: str) -> None:
        """A stage that fails has its message come again some seconds later: later than it was hidden here."""
        queue = CONSUMES[stage]
        url, body = self.cloud.queue(queue), harmless(queue)
        self.send(url, body)
        with self.cloud.denied(stage, "s3:GetObject"):
            answer = self.cloud.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=HIDDEN)
            visible = time.monotonic() + HIDDEN
            (received,) = answer["Messages"]
            with pytest.raises(StageFailed) as failed:
                self.run(stage, body, receiptHandle=received["ReceiptHandle"])
        time.sleep(max(0.0, visible + 0.1 - time.monotonic()))
        if self._hidden(url) != 1:
            raise failed.value
        self.cloud.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=received["ReceiptHandle"], VisibilityTimeout=0)

    def _hidden(self, url: str) -> int:
        """How many messages of a queue are being handled."""
        counted = "ApproximateNumberOfMessagesNotVisible"
        return int(self.cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[counted])["Attributes"][counted])
