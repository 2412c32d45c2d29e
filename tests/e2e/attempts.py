"""Attempts at actions on real resources with somebody's keys. Even a successful attempt does no
harm."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from botocore.exceptions import ClientError

from .cloud import CloudForm
from .permissions import ONLINE_KEYS, Permission, Permissions
from .probes import harmless

# The name of anything that an attempt would make, or that it asks for although it doesn't exist.
PROBE = "permissions-probe"

# No object has this tag. A write under this condition is allowed or denied, but never happens.
# <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
NO_TAG = '"0"'

# The codes of a denial; an answer to HEAD has only a status.
DENIED = {"AccessDenied", "AccessDeniedException", "403"}

# The errors of an attempt that is allowed but asks for something impossible.
IMPOSSIBLE = {
    "MalformedPolicyDocument",
    "NoSuchKey",
    "NoSuchUpload",
    "PreconditionFailed",
    "ReceiptHandleIsInvalid",
    "ResourceAlreadyExistsException",
    "ResourceNotFoundException",
    "ValidationException",
}


class Identity:
    """An identity with these keys."""

    def __init__(self, cloud: CloudForm, keys: dict[str, str]) -> None:
        self._cloud, self._keys = cloud, keys
        self._clients: dict = {}

    def client(self, service: str):
        if service not in self._clients:
            self._clients[service] = self._cloud.connect(service, self._keys)
        return self._clients[service]


@dataclass(frozen=True)
class Attempt:
    """One attempted request."""

    action: str
    # The concrete resource's ARN, or its name in the tables.
    resource: str
    service: str
    method: str
    arguments: dict

    def is_denied(self, identity: Identity) -> bool:
        """Whether the request is denied. An unexpected error is raised."""
        try:
            getattr(identity.client(self.service), self.method)(**self.arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"].rpartition(".")[2]
            if code in DENIED:
                return True
            if code not in IMPOSSIBLE:
                raise
        return False


class Attempts:
    """Attempts at each permission of a deployment's functions, and at what no function may do."""

    def __init__(self, cloud: CloudForm, permissions: Permissions) -> None:
        self._cloud, self._permissions = cloud, permissions

    def at(self, permission: Permission) -> Attempt:
        """The attempt at a permission."""
        service, _, action = permission.action.partition(":")
        attempts = {"s3": self._s3, "sqs": self._sqs, "events": self._events, "kms": self._kms, "logs": self._logs}
        resource, requests = attempts[service](permission.resource)
        method, arguments = requests[action]
        return Attempt(permission.action, resource, service, method, arguments)

    # Each method returns the concrete resource, and a request for each action

    def _s3(self, resource: str) -> tuple[str, dict]:
        bucket, _, pattern = resource.rpartition(":")[2].partition("/")
        key = self._existing(bucket, pattern) if pattern else ""
        place = {"Bucket": bucket, "Key": key}
        return resource.replace(pattern, key) if pattern else resource, {
            "GetObject": ("get_object", place),
            "GetObjectVersion": ("get_object", {**place, "VersionId": self._version(bucket, key)}),
            "PutObject": ("put_object", {**place, "Body": b"", "IfMatch": NO_TAG}),
            "ListMultipartUploadParts": ("list_parts", {**place, "UploadId": PROBE}),
            "ListBucketMultipartUploads": ("list_multipart_uploads", {"Bucket": bucket, "MaxUploads": 1}),
            "ListBucket": ("list_objects_v2", {"Bucket": bucket, "MaxKeys": 1}),
            "ListBucketVersions": ("list_object_versions", {"Bucket": bucket, "MaxKeys": 1}),
        }

    def _existing(self, bucket: str, pattern: str) -> str:
        """The first object that matches a pattern, or a missing one.

        Never a root, which no function may write, and never the timestamp, which some functions may
        read among all metadata.
        """
        if "*" not in pattern:
            return pattern
        found = self._cloud.admin_s3.list_objects_v2(Bucket=bucket, Prefix=pattern.partition("*")[0]).get("Contents", [])
        special = ("root.json", "timestamp.json")
        keys = [entry["Key"] for entry in found if fnmatchcase(entry["Key"], pattern) and not entry["Key"].endswith(special)]
        return keys[0] if keys else pattern.replace("*", PROBE)

    def _version(self, bucket: str, key: str) -> str:
        if bucket != self._cloud.bucket or not key:
            return "null"  # no function reads versions elsewhere
        return self._cloud.admin_s3.head_object(Bucket=bucket, Key=key)["VersionId"]

    def _sqs(self, resource: str) -> tuple[str, dict]:
        name = self._permissions.short(resource).removeprefix("queue ")
        queue = {"QueueUrl": self._cloud.queue(name.removesuffix("-dlq"), dead_letters=name.endswith("-dlq"))}
        message = {"MessageBody": harmless(name.removesuffix("-dlq"))}
        if resource.endswith(".fifo"):
            message |= {"MessageGroupId": PROBE, "MessageDeduplicationId": PROBE}
        no_message = {**queue, "ReceiptHandle": PROBE}
        return resource, {
            "SendMessage": ("send_message", {**queue, **message}),
            "ReceiveMessage": ("receive_message", {**queue, "VisibilityTimeout": 0}),
            "DeleteMessage": ("delete_message", no_message),
            "ChangeMessageVisibility": ("change_message_visibility", {**no_message, "VisibilityTimeout": 0}),
            "GetQueueAttributes": ("get_queue_attributes", {**queue, "AttributeNames": ["QueueArn"]}),
            "GetQueueUrl": ("get_queue_url", {"QueueName": resource.rpartition(":")[2]}),
        }

    def _events(self, resource: str) -> tuple[str, dict]:
        event = {"EventBusName": resource.rpartition("/")[2], "Source": PROBE, "DetailType": PROBE, "Detail": "{}"}
        return resource, {"PutEvents": ("put_events", {"Entries": [event]})}

    def _kms(self, resource: str) -> tuple[str, dict]:
        digest = hashlib.sha256(PROBE.encode()).digest()
        signing = {"KeyId": resource, "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
        return resource, {"Sign": ("sign", signing), "GetPublicKey": ("get_public_key", {"KeyId": resource})}

    def _logs(self, resource: str) -> tuple[str, dict]:
        stream = {"logGroupName": resource.removesuffix(":*").rpartition(":")[2], "logStreamName": PROBE}
        event = {"timestamp": 0, "message": PROBE}
        return resource.replace("*", f"log-stream:{PROBE}"), {
            "CreateLogStream": ("create_log_stream", stream),
            "PutLogEvents": ("put_log_events", {**stream, "logEvents": [event]}),
        }

    def at_nobodys(self) -> Iterator[Attempt]:
        """Attempts at what no function may do."""
        for place in ("uploads/targets/", "repository/metadata/", "repository/blobs/", "ledger/"):
            # A missing object: a delete marker there does no harm.
            there = self._object(place + PROBE)
            yield Attempt("s3:DeleteObject", f"{place}*", "s3", "delete_object", there)
            yield Attempt("s3:DeleteObjectVersion", f"{place}*", "s3", "delete_object", {**there, "VersionId": PROBE})
        roots = ["repository/metadata/1.root.json", "repository/metadata/2.root.json"]  # one is there, one isn't
        operators = ["ledger/root-intent.json", "ledger/removals-accepted.json", f"ledger/decisions/{PROBE}"]
        for place in [f"uploads/targets/{PROBE}", *roots, *operators]:
            yield Attempt("s3:PutObject", place, "s3", "put_object", {**self._object(place), "Body": b"", "IfMatch": NO_TAG})
        yield from self._at_keys()
        yield from self._at_roles("sign")

    def _object(self, place: str) -> dict[str, str]:
        """S3's parameters for an object, from its name in the tables."""
        bucket, _, key = place.partition("/")
        return {"Bucket": self._cloud.endpoints[f"{bucket}_bucket"], "Key": key}

    def _at_keys(self) -> Iterator[Attempt]:
        kms = self._cloud.connect("kms")
        for name in ONLINE_KEYS:
            key = {"KeyId": self._permissions.arn(f"key {name}")}
            too_soon = {**key, "PendingWindowInDays": 6}  # 7 to 30 are possible
            yield Attempt("kms:ScheduleKeyDeletion", f"key {name}", "kms", "schedule_key_deletion", too_soon)
            same = {**key, "Policy": kms.get_key_policy(**key, PolicyName="default")["Policy"]}
            yield Attempt("kms:PutKeyPolicy", f"key {name}", "kms", "put_key_policy", same)

    def _at_roles(self, stage: str) -> Iterator[Attempt]:
        function = self._permissions.functions[stage]
        role = {"RoleName": function["Role"].rpartition("/")[2]}
        no_policy = {**role, "PolicyName": PROBE, "PolicyDocument": "{"}
        session = {"RoleArn": function["Role"], "RoleSessionName": PROBE}
        dry_run = {"FunctionName": function["FunctionName"], "InvocationType": "DryRun"}
        yield Attempt("iam:GetRole", f"role of {stage}", "iam", "get_role", role)
        yield Attempt("iam:PutRolePolicy", f"role of {stage}", "iam", "put_role_policy", no_policy)
        yield Attempt("sts:AssumeRole", f"role of {stage}", "sts", "assume_role", session)
        yield Attempt("lambda:InvokeFunction", f"function {stage}", "lambda", "invoke", dry_run)
