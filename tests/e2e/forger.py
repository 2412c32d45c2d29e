"""A thief with the keys of a role, who makes what the role's policy allows: generations, signed
documents, receipts.

The emulator can't enforce a bucket's policy, so the thief obeys it voluntarily: it only creates
objects, and replaces none.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from tuf.api.metadata import Metadata, Targets

from .attempts import Identity
from .cloud import CloudForm
from .device import sha256
from .test_queues import message

# How long removals are counted together, in seconds (`RemovalLimit::WINDOW_SECONDS`).
REMOVALS_TOGETHER = 600

# The content of a target as in a manifest, with the version of the upload from which it supposedly
# comes; `None` removes the target.
Claim = tuple[dict, str] | None
# Further differences between a forged generation and rebuild's: in its manifest and its document of
# `targets`.
Twist = Callable[[dict, dict], None]


def content(data: bytes) -> dict:
    """A manifest's entry for a target with these bytes."""
    return {"sha256": sha256(data), "length": len(data)}


def compact(value: object) -> bytes:
    """Writes JSON as `shared/tuf/src/primitives/json.rs` does."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def written(time: datetime) -> str:
    """A time in the format of metadata."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class Forger:
    """Acts as `identity` in `cloud`, and knows everything that anybody may read there."""

    def __init__(self, cloud: CloudForm, identity: Identity) -> None:
        self.cloud, self.identity = cloud, identity

    # What there is

    def read(self, bucket: str, key: str) -> bytes:
        return self.cloud.admin_s3.get_object(Bucket=self.cloud.endpoints[bucket], Key=key)["Body"].read()

    def manifest(self, generation: int) -> dict:
        return json.loads(self.read("ledger_bucket", f"generations/{generation:020}.json"))

    # What it makes

    def create(self, bucket: str, key: str, data: bytes) -> None:
        """Creates an object, as the buckets' policies require of everybody."""
        place = {"Bucket": self.cloud.endpoints[bucket], "Key": key}
        self.identity.client("s3").put_object(**place, Body=data, IfNoneMatch="*")

    def keep(self, folder: str, data: bytes) -> str:
        """Creates a record named after its digest, and returns the digest."""
        name = sha256(data)
        self.create("ledger_bucket", f"{folder}/{name}.json", data)
        return name

    def send(self, queue: str, body: dict | str) -> None:
        url = self.cloud.queue(queue)
        group = {"MessageGroupId": "all", "MessageDeduplicationId": sha256(datetime.now(UTC).isoformat().encode())}
        fifo = group if url.endswith(".fifo") else {}
        self.identity.client("sqs").send_message(QueueUrl=url, MessageBody=message(body), **fifo)

    def generation(self, claims: Mapping[str, Claim], twist: Twist | None = None) -> int:
        """Makes the next generation as rebuild would if these claims were true, and returns its
        number."""
        published = self.cloud.published_generation()
        base, later = self.manifest(published), self.cloud.manifests(published)
        assert "bins" not in base["top"], "this forger knows no bins"
        number = later[-1]["generation"] + 1 if later else published + 1
        document = json.loads(self.read("ledger_bucket", f"drafts/{base['top']['draft']}.json"))
        now = datetime.now(UTC).replace(microsecond=0)
        serial = max(made["serial"] for made in [base, *later])
        manifest = {
            **base,
            "generation": number,
            "base": published,
            "created": written(now),
            "first": serial,
            "serial": serial + 1,
            "snapshot_expires": written(now + timedelta(seconds=base["policy"]["snapshot_seconds"])),
            "changes": [],
        }
        for gone in ("party_changes", "waived", "renew_snapshot"):
            manifest.pop(gone, None)
        document["version"] = serial + 1
        document["expires"] = written(now + timedelta(seconds=base["policy"]["targets_seconds"]))
        removed = 0
        for name, claim in claims.items():
            applied = {"name": name, "outcome": "removed"}
            before = document["targets"].pop(name, None)
            if claim is None:
                removed += before is not None
            else:
                new, version = claim
                applied |= {"outcome": {"set": new}, "version": version}
                document["targets"][name] = {"hashes": {"sha256": new["sha256"]}, "length": new["length"]}
            manifest["changes"].append(applied)
        manifest["targets"] = len(document["targets"])
        if removed:
            manifest["removals"] = self._window(base, now, removed)
        if twist:
            twist(manifest, document)
        entry = {"version": document["version"], "draft": self.keep("drafts", compact(document)), "expires": document["expires"]}
        manifest |= {"top": entry, "changed": {"targets": entry}}
        self.create("ledger_bucket", f"generations/{number:020}.json", compact(manifest))
        self.send("sign", "sign")
        return number

    @staticmethod
    def _window(base: dict, now: datetime, removed: int) -> dict:
        """The number of targets that were removed recently."""
        window = base["removals"]
        since = window.get("since")
        if since is None or (now - datetime.fromisoformat(since)).total_seconds() > REMOVALS_TOGETHER:
            window = {"since": written(now), "targets": base["targets"], "removed": 0}
        return {**window, "removed": window["removed"] + removed}

    def signed(self, metadata: Metadata, role: str) -> bytes:
        """Signs with the key of an online role, if KMS lets this identity."""
        root = self.cloud.signed("1.root.json")
        (keyid,) = root["roles"][role]["keyids"]
        kms = self.identity.client("kms")
        signing = {"MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
        digest = hashlib.sha256(metadata.signed_bytes).digest()
        key = self.cloud.function("sign")["Environment"]["Variables"][f"TUFLINE_KEY_{role.upper()}"]
        signature = kms.sign(KeyId=key, Message=digest, **signing)["Signature"]
        document = {"signed": metadata.signed.to_dict(), "signatures": [{"keyid": keyid, "sig": signature.hex()}]}
        return compact(document)

    def targets(self) -> Metadata[Targets]:
        """The published document of `targets`, to be edited."""
        return Metadata.from_bytes(self.read("repository_bucket", f"metadata/{self.cloud.published_roles()['targets']}"))
