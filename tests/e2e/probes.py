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
from .permissions import CONSUMES, PIPELINE, Permissions
from .polling import until
from .test_queues import message, s3_event

# A run of a stage in some situation. It raises :class:`StageFailed` if the stage didn't do its
# work.
Probe = Callable[[], None]

# Custom metadata that every stage refuses.
BAD_CUSTOM = {"tuf-custom": '{"a":1.5}'}

# With this, refresh considers the timestamp due that publish has just signed.
LONG_TIMESTAMP = {"expiry": {"timestamp": "4 days"}}
# With this limit, the other probes' uploads are not large for hash, but one of another probe is.
LARGEST_FOR_HASH = 64
PASSED_ON = {"large_uploads": {"above": LARGEST_FOR_HASH}}
# With these limits, an upload of 8 bytes is read in one run and copied whole, one of 16 bytes is
# copied whole, and one of 24 bytes is copied in parts.
LARGE = {"large_uploads": {"above": 0, "piece": 8, "run": 8, "copy_above": 16, "copy_part": 8}}
# With this, a single removal waits for consent, and a role splits when it has two targets.
STRICT = {"removals": {"percent": 0, "at_least": 0}, "max_targets_per_bin": 1}

# How long a received message stays hidden, in seconds: shorter than after a stage has returned it.
HIDDEN = 2


class StageFailed(Exception):
    """A failed stage, with its answer and log."""

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
        "chunk": json.dumps({"format": 1, "chunk": []}),
    }[queue]


@contextlib.contextmanager
def held_still(cloud: CloudForm, permissions: Permissions) -> Iterator[None]:
    """During the block no stage starts by itself: neither the queues nor the schedule invoke
    any."""
    client = cloud.connect("lambda")
    mappings: list[dict] = []
    for function in permissions.functions.values():
        mappings += client.list_event_source_mappings(FunctionName=function["FunctionName"])["EventSourceMappings"]

    def enable(enabled: bool) -> None:
        for mapping in mappings:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)

    def idle() -> bool:
        waiting = {queue: cloud.waiting(cloud.queue(queue)) for queue in CONSUMES.values()}
        assert not any(waiting.values()), waiting
        return True

    until("idle", idle, 60, 0.2)
    with schedule_stopped(cloud, permissions.functions["refresh"]["FunctionArn"]):
        enable(False)
        try:
            until("still", idle, 60, 0.2)
            yield
        finally:
            enable(True)
    # Lets the stages handle what was sent meanwhile, so that the next test doesn't find it.
    until("idle again", idle, 300, 0.2)


@contextlib.contextmanager
def schedule_stopped(cloud: CloudForm, function: str) -> Iterator[None]:
    """Stops the schedule that invokes `function` during the block."""
    scheduler = cloud.connect("scheduler")
    found = [entry for page in scheduler.get_paginator("list_schedules").paginate() for entry in page["Schedules"]]
    (name,) = [entry["Name"] for entry in found if entry["Target"]["Arn"] == function]
    schedule = scheduler.get_schedule(Name=name)
    # An update needs all fields except those that the scheduler itself adds.
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
                **{f"a dead letter of {queue}": self.refresh_a_dead_letter(queue) for queue in PIPELINE.values()},
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
            "chunk": {"a new blob": self.chunk},
        }
        for stage in PIPELINE:
            self.probes[stage]["a message that fails"] = lambda stage=stage: self.return_a_message(stage)
        self._publish_first()

    def _publish_first(self) -> None:
        """Publishes a target, and another one whose upload is then removed."""
        self.data = os.urandom(16)
        self._publish("published", self.data)
        self.told = self.cloud.generation()
        self._publish("removed", os.urandom(16))
        self._delegate()
        self.marker = self.cloud.s3.delete_object(Bucket=self.cloud.bucket, Key=self.key("removed"))["VersionId"]

    def _delegate(self) -> None:
        """Delegates names to another party, which delivers a first document."""
        folder = Path(tempfile.mkdtemp(prefix="party-", dir=self.cloud.scratch))
        self.party = Party(self.cloud, folder, "party-x", Holder("vera", folder))
        paths = ["--paths", self.name("party/*")]
        done = self.cloud.tufline("delegation", "create", "party-x", *paths, *self.party.holders[0].key, operator=True)
        assert done.returncode == DONE, done.stderr
        self.publish_a_delivery()

    # Running stages

    def run(self, stage: str, body: str, **record: object) -> str:
        """Gives a stage one message, as its event source mapping does, and returns the end of its
        log.

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
        """Runs a stage once, and returns its answer and the end of its log."""
        name, payload = self.functions[stage]["FunctionName"], json.dumps(event).encode()
        answer = self._lambda.invoke(FunctionName=name, Payload=payload, LogType="Tail")
        log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        result = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise StageFailed(stage, f"{json.dumps(result)} {log}")
        return result, log

    def forget(self, stage: str) -> None:
        """Restarts a stage, so that it remembers no public key."""
        for pid in self.processes(stage):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("gone", lambda: not self.processes(stage))

    def processes(self, stage: str) -> dict[int, dict[str, str]]:
        """The processes of this deployment's stage, each with its environment."""
        ours = self.cloud.function_environments()
        return {pid: environment for pid, environment in ours.items() if environment["_HANDLER"] == stage}

    def keys(self, stage: str) -> dict[str, str]:
        """The keys of a stage's role, from the environment of one of its processes."""
        if not self.processes(stage):
            next(iter(self.probes[stage].values()))()
        environment = next(iter(self.processes(stage).values()))
        return {name: environment[f"AWS_{name.upper()}"] for name in ("access_key_id", "secret_access_key", "session_token")}

    # Making a situation

    def name(self, what: str) -> str:
        """The name of a target of these probes."""
        return f"{self.folder}/{what}"

    def key(self, what: str) -> str:
        """The S3 key of its upload."""
        return self.cloud.key(self.name(what))

    def put(self, what: str, data: bytes | None = None, **options: object) -> str:
        """Uploads `data`, by default new bytes, and returns its version."""
        data = os.urandom(16) if data is None else data
        return self.cloud.s3.put_object(Bucket=self.cloud.bucket, Key=self.key(what), Body=data, **options)["VersionId"]

    def _publish(self, what: str, data: bytes) -> None:
        """Takes an upload through all stages."""
        version = self.put(what, data)
        self.hash(what, version)
        self.change({"set": {"name": self.name(what), "version": version}})
        self.publish_what_waits()

    def publish_what_waits(self) -> None:
        self.run("sign", message("sign"))
        self.run("publish", message("publish"))

    def hash(self, what: str, version: str) -> None:
        """Gives hash S3's event about an upload."""
        self.run("hash", s3_event(self.cloud.bucket, quote_plus(self.key(what), safe="/"), version=version))

    def change(self, change: dict | str) -> None:
        """Gives rebuild a change. If a renewal fails, rebuild only reports it: refresh asks
        again."""
        log = self.run("rebuild", message({"changes": [change]}))
        if "role not renewed" in log:
            raise StageFailed("rebuild", log)

    def renew(self, role: str = "targets") -> int:
        """Makes rebuild create a generation with a new version of a role, and returns its
        number."""
        newest = self.cloud.generation()
        version = newest if role == "snapshot" else self.version(role)
        self.change({"renew": {"role": role, "version": version}})
        return newest + 1

    def version(self, role: str) -> int:
        """The newest version of a role's document, published or not; 0 if there is none."""
        published = self.cloud.published_generation()
        version = int(self.cloud.published_roles().get(role, "0.").partition(".")[0])
        waiting = {manifest["generation"]: manifest for manifest in self.cloud.manifests(published)}
        manifest = waiting.get(max(waiting, default=0))
        # Some manifests may be skipped if their drafts couldn't be read.
        while manifest:
            if changed := manifest["changed"].get(role):
                return changed["version"]
            manifest = waiting.get(manifest["base"])
        return version

    def tell_again(self) -> None:
        """Moves `announced.json` back to before the first target of these probes, so that events
        are sent again."""
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
        """Uploads a good version and then a bad one; returns both versions."""
        return self.put("overwritten"), self.put("overwritten", Metadata=BAD_CUSTOM)

    def hash_nothing(self) -> None:
        self.hash("never", "none")

    def hash_a_large_one(self) -> None:
        """Needs the configuration :data:`PASSED_ON`."""
        self.hash("large", self.put("large", os.urandom(LARGEST_FOR_HASH + 1)))

    def hash_a_delivery(self) -> None:
        self._deliver()
        self.run("hash", s3_event(self.cloud.bucket, "delegations/party-x.json", version="none"))

    def _deliver(self) -> None:
        """The party signs and uploads a document with a new target."""
        what = f"party/{os.urandom(4).hex()}"
        place = self.party.targets / self.name(what)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(os.urandom(16))
        self.hash(what, self.put(what, place.read_bytes()))
        self.party.sign().deliver()

    # Large: under LARGE

    def large(self, what: str, version: str, runs: int = 1) -> None:
        """Starts an upload and continues it in some runs."""
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
        """An operator makes a decision that changes nothing, and rebuild processes it."""
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
        """Renews a published role: rebuild would recreate a role that is only waiting and can't be
        read."""
        self.publish_what_waits()
        self.renew(role)

    def rebuild_a_bin(self) -> None:
        """Needs the configuration :data:`STRICT`."""
        if not self.version("bin-0"):
            self.renew()
        assert self.version("bin-0"), "it is split"
        self.rebuild_a_role("bin-0")

    def rebuild_unhashed(self) -> None:
        self.change({"set": {"name": self.name("unhashed"), "version": self.put("unhashed")}})

    def rebuild_a_bad_overwrite(self) -> None:
        self.change({"set": {"name": self.name("overwritten"), "version": self._overwrite()[0]}})

    def rebuild_nothing(self) -> None:
        """Rebuild also announces that this version will never be published."""
        self.change({"set": {"name": self.name("never"), "version": "none"}})

    def rebuild_a_held_removal(self) -> None:
        """Needs the configuration :data:`STRICT`."""
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
        """Needs the configuration :data:`STRICT`."""
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
        """Takes an upload through the stages before sign, and returns its version."""
        version = self.put(what, data)
        self.hash(what, version)
        self.change({"set": {"name": self.name(what), "version": version}})
        return version

    def sign_an_overwritten_one(self) -> None:
        """The upload that waits to be signed has just been overwritten."""
        self._rebuild_a_target("target")
        self.put("target")
        self.run("sign", message("sign"))

    def sign_a_purged_one(self) -> None:
        """Nobody can tell any more what the upload was. Its generation is skipped until a later one
        has another upload of this name."""
        version = self._rebuild_a_target("purged")
        self._purge("purged", version)
        try:
            self.run("sign", message("sign"))
        finally:
            self._rebuild_a_target("purged")

    def _purge(self, what: str, version: str) -> None:
        """Deletes an upload and all its earlier versions, for good."""
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
        """Signs a made-up generation that counts one target too many."""
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
        """Needs the configuration :data:`STRICT`."""
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
        """Publishes after a void generation: hash must look again at the changes that the void one
        would have answered."""
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
        """Publishes a generation with an invalid snapshot. All earlier generations are signed
        first, since sign would otherwise take them for signed too."""
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
        """Refresh with more waiting generations than it asks for one by one."""
        self.renew()
        self.renew()
        self.refresh()

    def refresh_after_a_delivery(self) -> None:
        self.publish_a_delivery()
        self.refresh()

    def refresh_a_due_timestamp(self) -> None:
        """Needs the configuration :data:`LONG_TIMESTAMP`."""
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
        """A function's answer to a device's request through an HTTP API, and the end of its log.

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
        """Asks for a pack as a device that has only the first root, and whose dictionary differs
        from the server's. Returns the pack's length and the log."""
        answer, log = self.answer("pack", "/pack", 200, have="1.root", dict="0" * 16, **files)
        return len(base64.b64decode(answer["body"])), log

    def pack_with_a_target(self) -> None:
        """Asks for a target with random bytes, which don't compress."""
        name = self.name("published")
        role = sha256(name.encode())[:8]
        without, _ = self.pack(roles=role)
        length, log = self.pack(roles=role, files=name)
        if length < without + len(self.data):
            raise StageFailed("pack", f"{length - without} bytes more with a target of {len(self.data)}: {log}")

    # Chunk

    def chunk(self) -> None:
        """Gives chunk S3's event about a blob that is just long enough to be cut."""
        data = os.urandom(64 * 1024)
        self._write("repository_bucket", f"blobs/{sha256(data)}", data)
        self.run("chunk", s3_event(self.cloud.endpoints["repository_bucket"], f"blobs/{sha256(data)}", version="1"))

    # Queues

    def send(self, url: str, body: str) -> None:
        """Sends a message in a group of its own, so that a hidden message doesn't block others."""
        fifo = ("MessageGroupId", "MessageDeduplicationId") if url.endswith(".fifo") else ()
        self.cloud.sqs.send_message(QueueUrl=url, MessageBody=body, **{field: os.urandom(8).hex() for field in fifo})

    def return_a_message(self, stage: str) -> None:
        """A failed stage makes its message visible again after some seconds: later than this test
        had hidden it."""
        queue = PIPELINE[stage]
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
