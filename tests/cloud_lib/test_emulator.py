"""Notices when the emulator changes: one test for each ✓ in `tests/emulator.md`, in its order.

A failing test here is no fault of Tufline's. It means that the emulator came closer to AWS, or
drifted further away. Correct `emulator.md`, and look for what the code or other tests do because of
that line.

Needs a running `tests/cloud up`; `TUFLINE_CLOUD` names its folder if it isn't the default.
"""

import base64
import hashlib
import json
import os
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

DATA = Path(os.environ.get("TUFLINE_CLOUD", Path(__file__).resolve().parents[2] / ".tufline-cloud"))
PART = bytes(5 << 20)


@pytest.fixture(scope="module")
def endpoints() -> dict:
    path = DATA / "endpoints.json"
    if not path.exists():
        pytest.skip(f"no deployment in {DATA}: run tests/cloud up")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def connect(endpoints):
    """Makes clients, with the administrator's keys by default."""

    def make(service: str, keys: dict = json.loads((DATA / "admin.json").read_text())):
        return boto3.client(
            service,
            endpoint_url=endpoints["aws"],
            region_name=endpoints["region"],
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    return make


@pytest.fixture(scope="module")
def s3(connect):
    return connect("s3")


@pytest.fixture(scope="module")
def bucket(s3) -> str:
    """A bucket for these tests only, so that nothing is published."""
    name = f"emulator-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def refused(call) -> str:
    """The code of the error that `call` raises."""
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"]


def multipart(s3, bucket: str, key: str, *parts: bytes, **algorithm: str) -> dict:
    created = s3.create_multipart_upload(Bucket=bucket, Key=key, **algorithm)
    upload = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
    done = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(**upload, PartNumber=number, Body=part, **algorithm)
        checksums = {name: value for name, value in answer.items() if name == "ChecksumSHA256"}
        done.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    return s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_01_copies_keep_the_sources_checksum_and_get_no_new_one(s3, bucket):
    s3.put_object(Bucket=bucket, Key="with", Body=b"x", ChecksumSHA256=sha256(b"x"))
    s3.put_object(Bucket=bucket, Key="without", Body=b"x")
    for source, expected in (("with", sha256(b"x")), ("without", None)):
        from_key = {"Bucket": bucket, "Key": source}
        copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=from_key, ChecksumAlgorithm="SHA256")
        assert "ChecksumSHA256" not in copied["CopyObjectResult"]
        assert s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED").get("ChecksumSHA256") == expected


def test_02_the_copy_of_a_composite_checksum_calls_it_a_full_one(s3, bucket):
    original = multipart(s3, bucket, "composite", PART, b"x", ChecksumAlgorithm="SHA256")
    assert original["ChecksumType"] == "COMPOSITE" and original["ChecksumSHA256"].endswith("-2")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "composite"})
    copy = s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (copy["ChecksumType"], copy["ChecksumSHA256"]) == ("FULL_OBJECT", original["ChecksumSHA256"])


def test_03_a_plain_multipart_upload_has_no_checksum(s3, bucket):
    assert "ChecksumType" not in multipart(s3, bucket, "plain", PART, b"x")


def test_05_a_range_of_a_version_is_the_whole_object(s3, bucket):
    version = s3.put_object(Bucket=bucket, Key="range", Body=b"0123456789")["VersionId"]
    assert s3.get_object(Bucket=bucket, Key="range", Range="bytes=2-3")["ContentRange"] == "bytes 2-3/10"
    answer = s3.get_object(Bucket=bucket, Key="range", Range="bytes=2-3", VersionId=version)
    assert "ContentRange" not in answer and answer["Body"].read() == b"0123456789"


def test_06_copies_ignore_if_none_match(s3, bucket):
    s3.put_object(Bucket=bucket, Key="taken", Body=b"old")
    s3.put_object(Bucket=bucket, Key="new", Body=b"new")
    s3.copy_object(Bucket=bucket, Key="taken", CopySource={"Bucket": bucket, "Key": "new"}, IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="taken")["Body"].read() == b"new"


def test_07_a_missing_key_is_no_secret(connect, endpoints):
    uploader = connect("s3", endpoints)
    ledger = endpoints["ledger_bucket"]
    assert refused(lambda: uploader.list_objects_v2(Bucket=ledger)) == "AccessDenied"
    assert refused(lambda: uploader.get_object(Bucket=ledger, Key="rejected/none")) == "NoSuchKey"


def test_08_parts_keys_and_metadata_have_no_limits(s3, bucket):
    multipart(s3, bucket, "small-parts", b"x", b"y")
    s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"")
    s3.put_object(Bucket=bucket, Key="metadata", Body=b"", Metadata={"m": "x" * 3000})


def test_11_lifecycle_rules_of_the_template_are_lost(s3, endpoints):
    name = endpoints["repository_bucket"]
    assert refused(lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)) == "NoSuchLifecycleConfiguration"


def test_17_a_message_is_deleted_once(connect):
    sqs = connect("sqs")
    queue = sqs.create_queue(QueueName=f"emulator-{uuid.uuid4()}")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handle = sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    assert refused(lambda: sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)) == "ReceiptHandleIsInvalid"


def test_18_messages_cant_be_moved(connect, endpoints):
    sqs = connect("sqs")
    queue = sqs.get_queue_attributes(QueueUrl=endpoints["queues"]["changes-dlq"], AttributeNames=["QueueArn"])
    refused(lambda: sqs.start_message_move_task(SourceArn=queue["Attributes"]["QueueArn"]))


def test_20_a_disabled_key_shows_its_public_part(connect):
    kms = connect("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key)
    assert kms.get_public_key(KeyId=key)["PublicKey"]


@pytest.mark.parametrize("detail", ["not JSON", json.dumps({"large": "x" * 1_100_000})], ids=["not JSON", "too large"])
def test_21_any_detail_of_an_event_is_accepted(connect, endpoints, detail):
    assert put_event(connect, endpoints["event_bus"], detail)["FailedEntryCount"] == 0


def test_22_events_to_nowhere_are_accepted(connect):
    assert put_event(connect, "no-such-bus", "{}")["FailedEntryCount"] == 0


def put_event(connect, bus: str, detail: str) -> dict:
    entry = {"Source": "emulator", "DetailType": "test", "Detail": detail, "EventBusName": bus}
    return connect("events").put_events(Entries=[entry])


def test_39_recursion_isn_t_what_the_template_says(connect):
    answer = connect("lambda").get_function_recursion_config(FunctionName="Tufline-large")
    assert answer["RecursiveLoop"] == "Terminate"


def test_40_an_api_has_no_kind_of_address(connect):
    [api] = [api for api in connect("apigatewayv2").get_apis()["Items"] if api["Name"] == "Tufline"]
    assert "IpAddressType" not in api
