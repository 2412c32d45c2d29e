"""Computes what AWS charges for from what was counted."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from .deployment import DEVICES, Usage
from .prices import Item

# The hours of a month in AWS's own calculator.
HOURS = 730
MINUTES = 60 * HOURS

GIGABYTE = 1e9

# The stages that make generations. The work of hash depends on the artifacts alone.
GENERATING = ("rebuild", "sign", "publish")
PIPELINE = ("hash", *GENERATING)
ANSWERING = ("serve", "pack")

# The length of a line of API Gateway's log, in the format of `cdk/lib/api.ts`; the emulator writes
# no such log. CloudWatch adds 26 bytes.
API_LOG_LINE = 26 + len(
    json.dumps(
        {
            "time": "25/Nov/2026:07:31:45 +0000",
            "request": "WcsSEiK3IAMEPnw=",
            "ip": "203.0.113.200",
            "userAgent": "python-tuf/7.0.1 (linux; x86_64)",
            "method": "GET",
            "path": "/metadata/1234.snapshot.json",
            "status": "200",
            "length": "1234",
            "milliseconds": "23",
            "error": "-",
        }
    )
)

# An answer's head, including what API Gateway adds, in bytes.
ANSWER_HEAD = 500


@dataclass(frozen=True)
class Batches:
    """How AWS batches the messages of a burst, by `cdk/lib/functions.ts`."""

    seconds: float
    hash_batches: float
    generations: float


# Artifacts a second of 16 uploaders: a PUT takes 50 to 100 ms, plus the network.
UPLOADS_PER_SECOND = 100
# Lambda first reads a queue over five connections, and each collects its own batch for the window
# of a second (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>).
HASH_BATCHES_PER_SECOND = 5
# The window of `changes` is a second, and at most two batches are handled at once.
GENERATIONS_PER_SECOND = 2


def batches_on_aws(artifacts: int) -> Batches:
    seconds = artifacts / UPLOADS_PER_SECOND
    return Batches(seconds, seconds * HASH_BATCHES_PER_SECOND, seconds * GENERATIONS_PER_SECOND)


def per_generation(burst: float, burst_of: tuple[int, int], single: float, single_of: tuple[int, int]) -> float:
    """What each generation takes, regardless of the number of artifacts in it.

    Each count consists of a part `a` for each artifact and a part `g` for each generation. Two
    windows of (artifacts, generations) give two equations.
    """
    (artifacts, generations), (few, theirs) = burst_of, single_of
    return (single * artifacts - burst * few) / (theirs * artifacts - generations * few)


def on_aws(burst: Usage, artifacts: int, single: Usage, singles: int, batches: Batches) -> Usage:
    """The burst as it would be with AWS's batches. With these the generating stages make fewer
    generations; for each generation saved, what one generation takes is subtracted."""
    fewer = burst.generations - batches.generations

    def less(counted: float, alone: float) -> float:
        each = per_generation(counted, (artifacts, burst.generations), alone, (singles, single.generations))
        return max(0.0, counted - each * fewer)

    usage = Usage(seconds=batches.seconds, generations=round(batches.generations), metrics=burst.metrics)
    usage.gb_seconds = burst.gb_seconds
    for key, units in burst.units.items():
        # An event may contain many targets, and one announcement several generations, so events
        # don't add up in this way.
        adds_up = key[0] in GENERATING and key[2] != "events"
        usage.units[key] = less(units, single.units[key]) if adds_up else units
    for stage, count in burst.log_bytes.items():
        usage.log_bytes[stage] = less(count, single.log_bytes[stage]) if stage in GENERATING else count
    # Hash sends one message for each of its batches.
    usage.units["hash", "SQS SendMessage", "sqs_standard"] = batches.hash_batches
    each = dict.fromkeys(("sign", "publish"), batches.generations)
    usage.messages = Counter(uploads=artifacts, changes=batches.hash_batches, **each)
    # Each message is received and deleted on its own: the most requests possible.
    usage.batches = usage.messages
    usage.invocations = Counter(hash=batches.hash_batches, **dict.fromkeys(GENERATING, batches.generations))
    return usage


def of_artifacts(usage: Usage, artifacts: int, scale: float = 1.0) -> list[Item]:
    """The cost of this many artifacts, times `scale`. Leaves out devices, refresh, and the
    functions that answer devices."""
    reads = {
        "sqs_standard": sum(2 * usage.batches[queue] for queue in ("uploads", "changes")),
        "sqs_fifo": sum(2 * usage.batches[queue] for queue in ("sign", "publish")),
    }
    counted = [
        ("s3_put", artifacts, "the uploads themselves"),
        ("s3_put", usage.of("s3_put", "hash"), "copies and receipts, by hash"),
        ("s3_put", usage.of("s3_put", *GENERATING), "generations"),
        ("s3_get", usage.of("s3_get", "hash"), "hash"),
        ("s3_get", usage.of("s3_get", *GENERATING), "rebuild, sign, publish"),
        ("sqs_standard", usage.messages["uploads"], "S3's messages"),
        ("sqs_standard", usage.of("sqs_standard", *PIPELINE), "sent by functions"),
        ("sqs_standard", reads["sqs_standard"], "received and deleted by Lambda"),
        ("sqs_fifo", usage.of("sqs_fifo", *PIPELINE), "sent by functions"),
        ("sqs_fifo", reads["sqs_fifo"], "received and deleted by Lambda"),
        ("kms_ecc", usage.of("kms_ecc", *PIPELINE), ""),
        ("lambda_requests", usage.sum(usage.invocations, *PIPELINE), ""),
        ("lambda_gb_s", usage.sum(usage.gb_seconds, *PIPELINE), "as long as here"),
        ("events", usage.of("events", *PIPELINE), ""),
        ("logs", usage.sum(usage.log_bytes, *PIPELINE) / GIGABYTE, ""),
    ]
    metrics = set().union(*(usage.metrics.get(stage, set()) for stage in PIPELINE))
    items = [Item(price, amount * scale, note) for price, amount, note in counted]
    return [*items, Item("metric", len(metrics) / HOURS, f"{len(metrics)} for an hour")]


def of_devices(usage: Usage, scale: float) -> list[Item]:
    """The cost of the devices' requests, times `scale`."""
    requests = usage.of("api", DEVICES)
    counted = [
        ("api", requests, ""),
        ("lambda_requests", usage.sum(usage.invocations, *ANSWERING), ""),
        ("lambda_gb_s", usage.sum(usage.gb_seconds, *ANSWERING), "as long as here"),
        ("s3_get", usage.of("s3_get", *ANSWERING), ""),
        ("logs", usage.sum(usage.log_bytes, *ANSWERING) / GIGABYTE, "serve and pack"),
        ("logs", requests * API_LOG_LINE / GIGABYTE, f"requests, {API_LOG_LINE} bytes each"),
        ("transfer", (usage.answered + requests * ANSWER_HEAD) / GIGABYTE, f"with heads of {ANSWER_HEAD} bytes"),
    ]
    return [Item(price, amount * scale, note) for price, amount, note in counted]


@dataclass(frozen=True)
class Check:
    """A device's requests for one check for updates, and the answers."""

    what: str
    # Bytes of all bodies.
    body: float
    # Requests for the timestamp, which no cache keeps; for the next root and packs, which a cache
    # keeps for seconds; and for files that never change.
    timestamps: int = 0
    roots: int = 0
    packs: int = 0
    unchanging: int = 0


# At a million targets. By files: the timestamp of 480 bytes and a 404, a snapshot of 144 kB and a
# bin of 43 kB. By packs: as in `docs/scale.md`.
BY_FILES = {"timestamps": 1, "roots": 1}
CHECKS = (
    Check("nothing changed, by files", 490, **BY_FILES),
    Check("nothing changed, by packs", 0, packs=1),
    Check("somebody else's target changed, by files", 144_490, **BY_FILES, unchanging=1),
    Check("somebody else's target changed, by packs", 350, packs=1),
    Check("its own target changed, by files", 187_490, **BY_FILES, unchanging=2),
    Check("its own target changed, by packs", 500, packs=1),
)

# A function's run that answers a device, as measured here: GB-seconds for a tenth of a second at
# 512 MB, and bytes of log lines.
ANSWER_GB_SECONDS, ANSWER_LOG = 0.05, 336
# For a pack the function reads the timestamp and the next root; files that never change are in its
# memory.
PACK_READS = 2


def of_checks(check: Check, number: float, kept: float | None) -> list[Item]:
    """The cost of this many checks: through the API, or through CloudFront, which answers the share
    `kept` of the files that it may keep."""
    missed = 1 if kept is None else 1 - kept
    answered = check.timestamps + missed * (check.roots + check.packs)
    reads = check.timestamps + missed * (check.roots + PACK_READS * check.packs + check.unchanging)
    requests = check.timestamps + check.roots + check.packs + check.unchanging
    answered += check.unchanging if kept is None else 0
    gigabytes = (check.body + requests * ANSWER_HEAD) / GIGABYTE
    front = (
        [("api", requests), ("logs", requests * API_LOG_LINE / GIGABYTE), ("transfer", gigabytes)]
        if kept is None
        else [("cloudfront", requests), ("cloudfront_function", check.unchanging), ("cloudfront_transfer", gigabytes)]
    )
    behind = [
        ("lambda_requests", answered),
        ("lambda_gb_s", answered * ANSWER_GB_SECONDS),
        ("s3_get", reads),
        ("logs", answered * ANSWER_LOG / GIGABYTE),
    ]
    return [Item(price, amount * number) for price, amount in (*front, *behind)]


@dataclass(frozen=True)
class Mapping:
    """An event source mapping of the template."""

    fifo: bool
    limited: bool

    def connections(self, most: bool) -> int:
        """The number of connections over which Lambda waits for messages: five, which it "can
        optimize to as few as 2" if the mapping has no maximum concurrency
        (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>)."""
        return 5 if most or self.limited else 2


# Each connection polls again after 20 seconds without a message, SQS's longest wait.
POLLS = MINUTES * 3


def mappings(template: dict) -> Iterator[Mapping]:
    resources = template["Resources"]
    for resource in _of_type(template, "AWS::Lambda::EventSourceMapping"):
        queue = resources[resource["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        yield Mapping(queue.get("FifoQueue", False), "ScalingConfig" in resource)


def _of_type(template: dict, kind: str) -> list[dict]:
    return [resource["Properties"] for resource in template["Resources"].values() if resource["Type"] == kind]


def _watched(alarm: dict) -> int:
    """The number of metrics that an alarm watches."""
    return sum("MetricStat" in metric for metric in alarm["Metrics"]) if "Metrics" in alarm else 1


# The renewals in a month. There are two timestamps a day, since the next is signed when half of its
# life is left. A snapshot of 7 days lasts 14/3 days, targets of 90 days last 60 days.
RENEWALS = HOURS / 12 + HOURS / (24 * 14 / 3) + HOURS / (24 * 60)


def of_month(idle: Usage, single: Usage, template: dict, most: bool) -> list[Item]:
    """The cost of a month without uploads and devices."""
    runs = MINUTES / idle.invocations["refresh"]
    renewed = RENEWALS / single.generations
    connections = Counter()
    for mapping in mappings(template):
        connections[mapping.fifo] += mapping.connections(most)
    logs = idle.log_bytes["refresh"] * runs / GIGABYTE
    metrics = idle.metrics["refresh"]
    renewals = f"{RENEWALS:.0f} renewals, each as a generation"
    return [
        Item("kms_key", len(_of_type(template, "AWS::KMS::Key"))),
        Item("alarm", sum(map(_watched, _of_type(template, "AWS::CloudWatch::Alarm")))),
        Item("metric", len(metrics)),
        Item("dashboard", len(_of_type(template, "AWS::CloudWatch::Dashboard"))),
        Item("sqs_standard", POLLS * connections[False], "polling"),
        Item("sqs_fifo", POLLS * connections[True], "polling"),
        Item("sqs_standard", idle.of("sqs_standard", "refresh") * runs, "refresh"),
        Item("sqs_fifo", idle.of("sqs_fifo", "refresh") * runs, "refresh"),
        Item("s3_put", idle.of("s3_put", "refresh") * runs, "LIST, refresh"),
        Item("s3_get", idle.of("s3_get", "refresh") * runs, "refresh"),
        Item("lambda_requests", MINUTES, "refresh"),
        Item("lambda_gb_s", idle.gb_seconds["refresh"] * runs, "refresh, as long as here"),
        Item("scheduler", MINUTES * len(_of_type(template, "AWS::Scheduler::Schedule"))),
        Item("logs", logs, "refresh"),
        Item("log_storage", logs, "a month of it"),
        Item("s3_put", single.of("s3_put", *GENERATING) * renewed, renewals),
        Item("s3_get", single.of("s3_get", *GENERATING) * renewed, renewals),
        Item("kms_ecc", single.of("kms_ecc", *GENERATING) * renewed, renewals),
    ]
