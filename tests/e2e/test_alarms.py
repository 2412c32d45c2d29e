"""Each alarm goes off for its condition: the test causes and measures the condition, and compares
it with the alarm.

The emulator leaves the functions' embedded metrics in its logs, and measures no queues. The test
reads both and puts them as metrics, as AWS would. Prints a table.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from .device import sha256
from .http_client import ask
from .polling import until
from .variant import Variant

pytestmark = pytest.mark.emulator

CONSUMERS = {"uploads": "hash", "large": "large", "changes": "rebuild", "sign": "sign", "publish": "publish"}
STAGES = ("hash", "large", "rebuild", "sign", "publish", "refresh")

# A configuration that a function refuses at its start.
UNREADABLE = {"unknown": 1}

# Not caused here, since that would take a quarter of an hour.
NOT_CAUSED = {f"{queue}-old-message" for queue in CONSUMERS} | {"publication-lag"}


@dataclass(frozen=True)
class Metric:
    """A metric, identified as in CloudWatch."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@dataclass
class Measured:
    """The measured values, by metric."""

    values: dict[Metric, list[float]] = field(default_factory=dict)

    def add(self, namespace: str, name: str, dimensions: dict[str, str], *values: float) -> None:
        self.values.setdefault(Metric(namespace, name, frozenset(dimensions.items())), []).extend(values)

    def add_embedded(self, log: str) -> None:
        """Adds all metrics that a function printed
        (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
        """
        for line in log.splitlines():
            if '"_aws"' not in line:
                continue
            entry = json.loads(line[line.index("{") :])
            for directive in entry["_aws"]["CloudWatchMetrics"]:
                (names,) = directive["Dimensions"]
                for metric in directive["Metrics"]:
                    value = entry[metric["Name"]]
                    values = value if isinstance(value, list) else [value]
                    self.add(directive["Namespace"], metric["Name"], {name: entry[name] for name in names}, *values)


@pytest.fixture
def variant(deploy: Callable[..., Variant]) -> Variant:
    return deploy("Alarms", {"access": "open"}, root_expires="20 days")


def test_each_alarm_is_raised_by_what_it_is_about(variant: Variant):
    measured, started = Measured(), time.time()
    raised = alarms(variant, variant.function("refresh")["Environment"]["Variables"]["TUFLINE_REPOSITORY"])
    quiet = Measured()
    variant.invoke("refresh")
    quiet.add_embedded(variant.log("refresh", started))
    assert not crossing(raised["timestamp-expires"], quiet), "a fresh timestamp raises no alarm"
    assert not crossing(raised["snapshot-expires"], quiet)
    assert set(quiet.values[metric_of(raised["publication-lag"])]) == {0}, "nothing waits"

    expiring(variant)
    refused_generation(variant)
    strangers_root(variant)
    for stage in ("refresh", "publish"):
        measured.add_embedded(variant.log(stage, started))
    for queue in CONSUMERS:
        measured.add("AWS/SQS", "ApproximateNumberOfMessagesVisible", *dead_letters(variant, queue))
    for stage in STAGES:
        measured.add("AWS/Lambda", "Errors", *crash(variant, stage))
    measured.add("AWS/ApiGateway", "5xx", *failing_answers(variant))

    print("\nalarm                        measured          raised when")
    missing = []
    for suffix, alarm in sorted(raised.items()):
        values = crossing(alarm, measured)
        sign = "<" if alarm["ComparisonOperator"] == "LessThanThreshold" else "≥"
        shown = f"{values[0]:.0f}" if values else "not caused here"
        print(f"  {suffix:26} {shown:17} {sign} {alarm['Threshold']:.0f}")
        if not values and suffix not in NOT_CAUSED:
            missing.append(suffix)
        if values:
            assert put(variant, alarm, values) == "ALARM", suffix
    assert not missing, missing
    assert NOT_CAUSED <= raised.keys()


def test_an_upload_is_followed_by_its_version_through_all_logs_and_measured(variant: Variant):
    started = time.time()
    answer = variant.s3.put_object(Bucket=variant.bucket, Key=variant.key("followed"), Body=b"x")
    variant.s3.put_object(Bucket=variant.bucket, Key=variant.key("a//b"), Body=b"x")
    variant.wait_published({"followed": sha256(b"x")})

    def told() -> bool:
        for stage in ("hash", "rebuild", "sign", "publish"):
            lines = [json.loads(line) for line in variant.log(stage, started).splitlines() if answer["VersionId"] in line]
            assert any(line.get("upload") == answer["VersionId"] for line in lines), stage
        return True

    until("told", told, 30)

    def counted() -> dict[str, list[float]]:
        measured = Measured()
        for stage in ("hash", "rebuild", "publish"):
            measured.add_embedded(variant.log(stage, started))
        return {metric.name: values for metric, values in measured.values.items()}

    until("rejected", lambda: "Rejected" in counted(), 30)
    found = counted()
    assert sum(found["Published"]) >= 1 and sum(found["Generations"]) >= 1 and sum(found["BatchSize"]) >= 1
    assert all(0 <= seconds < 60 for seconds in found["UploadToPublished"])


# Causes


def expiring(variant: Variant) -> None:
    """Publishes documents that are valid for two minutes, bins among them."""
    config = {"expiry": {"timestamp": "120s", "snapshot": "120s", "targets": "120s"}, "max_targets_per_bin": 1}
    with ExitStack() as configured:
        for stage in ("rebuild", "sign", "publish", "refresh"):
            configured.enter_context(variant.configured(stage, config))
        names = ["expiring", "too"]
        for name in names:
            variant.put(name, b"x")
        variant.wait_published({name: sha256(b"x") for name in names})
        variant.invoke("refresh")


def refused_generation(variant: Variant) -> None:
    """Puts something else in the next snapshot's place, so that the gate refuses that
    generation."""
    started = time.time()
    key = f"metadata/{variant.generation() + 1}.snapshot.json"
    variant.admin_s3.put_object(Bucket=variant.endpoints["repository_bucket"], Key=key, Body=b"{}")
    variant.put("refused", b"x")
    until("refused", lambda: "GateRefusals" in variant.log("publish", started), 60)
    variant.wait_published({"refused": sha256(b"x")})


def strangers_root(variant: Variant) -> None:
    """Puts a file that no holder signed in the next root's place."""
    place = {"Bucket": variant.endpoints["repository_bucket"], "Key": "metadata/2.root.json"}
    variant.admin_s3.put_object(**place, Body=b"{}", IfNoneMatch="*")
    variant.invoke("refresh")


def dead_letters(variant: Variant, queue: str) -> tuple[dict[str, str], float]:
    """Makes the function of `queue` crash over a message until that is a dead letter."""
    url = variant.queue(queue, dead_letters=True)
    with variant.configured(CONSUMERS[queue], UNREADABLE), variant.tries(1), variant.visibility(2):
        variant.send(queue, "no message")
        until("dead", lambda: variant.waiting(url), 60)
    return {"QueueName": url.rpartition("/")[2]}, variant.waiting(url)


def crash(variant: Variant, stage: str) -> tuple[dict[str, str], float]:
    """Gives a function a configuration that it can't read."""
    with variant.configured(stage, UNREADABLE):
        client = variant.connect("lambda")
        name = variant.function(stage)["FunctionName"]
        answer = client.invoke(FunctionName=name, Payload=b"{}")
        assert "FunctionError" in answer
    return {"FunctionName": name}, 1


def failing_answers(variant: Variant) -> tuple[dict[str, str], float]:
    """Removes serve's rights while devices ask."""
    with variant.denied("serve", "s3:*"):
        statuses = [ask(f"{variant.endpoints['metadata_url']}timestamp.json").status for _ in range(5)]
    assert variant.device().update()
    return {"ApiId": variant.endpoints["metadata_url"].split("/execute-api/")[1].split("/")[0]}, sum(
        status >= 500 for status in statuses
    )


# Alarms


def alarms(variant: Variant, repository: str) -> dict[str, dict]:
    """The deployment's alarms, by their names without the repository's."""
    pages = variant.connect("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{repository}-")
    return {alarm["AlarmName"].removeprefix(f"{repository}-"): alarm for page in pages for alarm in page["MetricAlarms"]}


def metric_of(alarm: dict) -> Metric:
    dimensions = frozenset((dimension["Name"], dimension["Value"]) for dimension in alarm["Dimensions"])
    return Metric(alarm["Namespace"], alarm["MetricName"], dimensions)


def crossing(alarm: dict, measured: Measured) -> list[float]:
    """The measured values of exactly the alarm's metric that cross its threshold."""
    values, threshold = measured.values.get(metric_of(alarm), []), alarm["Threshold"]
    below = alarm["ComparisonOperator"] == "LessThanThreshold"
    return [value for value in values if (value < threshold if below else value >= threshold)]


def put(variant: Variant, alarm: dict, values: list[float]) -> str:
    """Puts values into CloudWatch, and returns the alarm's state."""
    metric, client = metric_of(alarm), variant.connect("cloudwatch")
    dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
    data = [{"MetricName": metric.name, "Dimensions": dimensions, "Value": value} for value in values]
    client.put_metric_data(Namespace=metric.namespace, MetricData=data[:100])
    return client.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"][0]["StateValue"]
