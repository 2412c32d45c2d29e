"""Classifies requests, and finds their line of the price list."""

import json
import math
import urllib.parse

from .forwarder import Seen

# The bytes that SQS and EventBridge count as one unit.
CHUNK = 64 * 1024

SERVICES = {"AmazonSQS": "SQS", "TrentService": "KMS", "AWSEvents": "EventBridge"}


def operation(seen: Seen) -> str:
    """The request's name in AWS's documentation, after its service."""
    if target := seen.headers.get("x-amz-target"):
        service, _, action = target.partition(".")
        return f"{SERVICES[service]} {action}"
    return f"S3 {_s3_operation(seen)}"


def _s3_operation(seen: Seen) -> str:
    path, _, query = seen.target.partition("?")
    asked = urllib.parse.parse_qs(query, keep_blank_values=True)
    # The emulator has one host name, so the bucket is in the path.
    key = path.lstrip("/").partition("/")[2]
    match seen.method:
        case "GET" if not key:
            return "ListObjectVersions" if "versions" in asked else "ListObjectsV2"
        case "GET":
            return "GetObject"
        case "HEAD":
            return "HeadObject" if key else "HeadBucket"
        case "PUT":
            what = "UploadPart" if "partNumber" in asked else "Object"
            if "x-amz-copy-source" in seen.headers:
                return "CopyObject" if what == "Object" else "UploadPartCopy"
            return "PutObject" if what == "Object" else what
        case "POST":
            return "CreateMultipartUpload" if "uploads" in asked else "CompleteMultipartUpload"
    return seen.method


def billed(seen: Seen) -> tuple[str, float]:
    """The line of the price list, and the number of its units that the request counts for."""
    service, _, action = operation(seen).partition(" ")
    match service:
        case "SQS":
            line = "sqs_fifo" if b".fifo" in seen.body else "sqs_standard"
            return line, max(1, math.ceil(len(seen.body) / CHUNK))
        case "KMS":
            return "kms_ecc", 1
        case "EventBridge":
            entries = json.loads(seen.body)["Entries"]
            return "events", sum(math.ceil(_entry_size(entry) / CHUNK) for entry in entries)
    return "s3_get" if action.startswith(("Get", "Head")) else "s3_put", 1


def _entry_size(entry: dict) -> int:
    """<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-event-size>.
    """
    fields = [entry.get(name, "") for name in ("Source", "DetailType", "Detail")] + entry.get("Resources", [])
    return sum(len(field.encode()) for field in fields) + (14 if "Time" in entry else 0)
