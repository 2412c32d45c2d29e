"""The arithmetic of `tests/cost`, which needs no deployment."""

import json
from collections import Counter
from pathlib import Path

import pytest

from .arithmetic import CHECKS, Batches, Check, Mapping, of_checks, on_aws, per_generation
from .deployment import Usage
from .forwarder import Seen
from .prices import Item, Prices
from .requests import billed, operation


def seen(method: str, target: str, body: bytes = b"", **headers: str) -> Seen:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Seen(method, target, named, body, 200, 0)


@pytest.mark.parametrize(
    "request_, name, line, units",
    [
        (seen("GET", "/bucket/a/b?x-id=GetObject"), "S3 GetObject", "s3_get", 1),
        (seen("HEAD", "/bucket/a"), "S3 HeadObject", "s3_get", 1),
        (seen("HEAD", "/bucket"), "S3 HeadBucket", "s3_get", 1),
        (seen("GET", "/bucket?list-type=2&prefix=a%2F"), "S3 ListObjectsV2", "s3_put", 1),
        (seen("GET", "/bucket/?versions"), "S3 ListObjectVersions", "s3_put", 1),
        (seen("PUT", "/bucket/a"), "S3 PutObject", "s3_put", 1),
        (seen("PUT", "/bucket/a", x_amz_copy_source="b/a"), "S3 CopyObject", "s3_put", 1),
        (seen("PUT", "/bucket/a?partNumber=1&uploadId=1", x_amz_copy_source="b/a"), "S3 UploadPartCopy", "s3_put", 1),
        (seen("POST", "/", b"{}", x_amz_target="TrentService.Sign"), "KMS Sign", "kms_ecc", 1),
        (seen("POST", "/", b"q", x_amz_target="AmazonSQS.SendMessage"), "SQS SendMessage", "sqs_standard", 1),
        (seen("POST", "/", b"q.fifo", x_amz_target="AmazonSQS.SendMessage"), "SQS SendMessage", "sqs_fifo", 1),
        (seen("POST", "/", b"q" * 65537, x_amz_target="AmazonSQS.SendMessage"), "SQS SendMessage", "sqs_standard", 2),
    ],
)
def test_each_request_is_on_its_line(request_: Seen, name: str, line: str, units: int):
    assert (operation(request_), billed(request_)) == (name, (line, units))


def test_events_count_by_their_size():
    entries = [{"Detail": "x"}, {"Detail": "x" * 65_537}]
    request = seen("POST", "/", json.dumps({"Entries": entries}).encode(), x_amz_target="AWSEvents.PutEvents")
    assert billed(request) == ("events", 3)


def test_the_free_tier_is_used_once():
    items = [Item("sqs_standard", 600_000), Item("sqs_fifo", 600_000), Item("kms_ecc", 10_000)]
    assert Prices().usd(items) == pytest.approx([0.24, 0.30, 0.15])
    assert Prices().usd_after_free(items) == pytest.approx([0, 0.10, 0.15])


def test_generations_are_told_from_artifacts():
    # Three for each artifact and five for each generation.
    assert per_generation(3 * 1000 + 5 * 16, (1000, 16), 3 * 100 + 5 * 100, (100, 100)) == pytest.approx(5)


def test_other_batches_change_what_generations_take():
    burst, single = Usage(generations=16), Usage(generations=100)
    hashing, signing = ("hash", "S3 PutObject", "s3_put"), ("sign", "KMS Sign", "kms_ecc")
    burst.units = Counter({hashing: 1000, signing: 32})
    single.units = Counter({hashing: 100, signing: 200})
    usage = on_aws(burst, 1000, single, 100, Batches(seconds=10, hash_batches=50, generations=20))
    assert usage.units[hashing] == 1000
    assert usage.units[signing] == pytest.approx(40)
    assert usage.messages["changes"] == 50 and usage.invocations["sign"] == 20


def test_connections_are_those_of_the_documentation():
    assert [Mapping(False, limited).connections(most) for limited in (False, True) for most in (False, True)] == [2, 5, 5, 5]


def test_what_cloudfront_keeps_asks_no_function_and_no_bucket():
    amounts = lambda check, kept: {item.price: item.amount for item in of_checks(check, 1, kept)}  # noqa: E731
    check = Check("all", 0, timestamps=1, roots=1, packs=1, unchanging=1)
    through_api, nothing_kept, all_kept = (amounts(check, kept) for kept in (None, 0, 1))
    assert (through_api["api"], through_api["lambda_requests"], through_api["s3_get"]) == (4, 4, 5)
    # The bucket itself answers for files that never change.
    assert (nothing_kept["cloudfront"], nothing_kept["lambda_requests"], nothing_kept["s3_get"]) == (4, 3, 5)
    assert (all_kept["cloudfront"], all_kept["lambda_requests"], all_kept["s3_get"]) == (4, 1, 1)


def test_the_page_has_the_price_of_a_million_checks():
    page = Path(__file__).parents[2].joinpath("docs/cost.md").read_text()
    prices = Prices()
    for check in CHECKS:
        costs = [sum(prices.usd(of_checks(check, 1_000_000, kept))) for kept in (None, 0, 0.9)]
        assert f"| {check.what} | {' | '.join(f'{usd:.2f}' for usd in costs)} |" in page
