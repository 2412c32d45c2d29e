"""A deployment whose functions reach the emulator through forwarders, which count all requests."""

import contextlib
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench_lib.starts import STAGES
from cloud_lib import Refusal
from e2e.cloud import CloudForm
from e2e.device import Device

from .forwarder import Forwarder, Seen
from .requests import billed, operation

# The SDK's names of the services that the functions use.
SERVICES = ("S3", "SQS", "KMS", "EVENTBRIDGE")

# Clients that ask through API Gateway.
DEVICES = "devices"

# The bytes that CloudWatch adds to each line
# (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>).
LINE = 26

BATCH = re.compile(r"ESM: Lambda (\S+) processed (\d+) SQS messages from (\S+)")


@dataclass
class Usage:
    """The usage within a window of time."""

    seconds: float = 0.0
    # By caller, operation, and line of the price list: the number of requests, and of units.
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    units: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    # By stage.
    invocations: Counter[str] = field(default_factory=Counter)
    gb_seconds: Counter[str] = field(default_factory=Counter)
    log_bytes: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, set[str]] = field(default_factory=dict)
    # By queue.
    messages: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    generations: int = 0
    # Bytes sent to devices.
    answered: int = 0

    def of(self, line: str, *stages: str) -> float:
        """The units of a line of the price list that these stages' own requests used."""
        return sum(units for (who, _, on), units in self.units.items() if on == line and who in stages)

    def sum(self, by_stage: Counter[str], *stages: str) -> float:
        return sum(by_stage[stage] for stage in stages)


class Deployment:
    """The deployment of `data`, as `tests/cloud up` left it. :meth:`close` restores its
    functions."""

    def __init__(self, scratch: Path, data: Path) -> None:
        self.form = CloudForm(scratch, data)
        self.data = data
        # How long the deployment may take to finish its work, in seconds.
        self.patience = 120.0
        self._logs = self.form.connect("logs")
        self._lock = threading.Lock()
        self._usage = Usage()
        self._forwarders: dict[str, Forwarder] = {}
        self._before: dict[str, dict[str, str]] = {}
        aws = urllib.parse.urlsplit(self.form.endpoints["aws"]).netloc
        for who in (*STAGES, DEVICES):
            self._forwarders[who] = Forwarder(aws, lambda seen, who=who: self._count(who, seen))
        for stage in STAGES:
            self._lead(stage)

    def _lead(self, stage: str) -> None:
        """Connects a function to its forwarder. The emulator sets AWS_ENDPOINT_URL itself; a
        service's own variable takes precedence."""
        function = self.form.function(stage)
        self._before[function["FunctionName"]] = variables = function["Environment"]["Variables"]
        url = f"http://{self._forwarders[stage].netloc}"
        self.form.set_variables(function["FunctionName"], {**variables, **{f"AWS_ENDPOINT_URL_{name}": url for name in SERVICES}})

    def close(self) -> None:
        for name, variables in self._before.items():
            self.form.set_variables(name, variables)
        for forwarder in self._forwarders.values():
            forwarder.close()
        self.form.close()

    def _count(self, who: str, seen: Seen) -> None:
        with self._lock:
            if who == DEVICES:
                what, (line, units) = f"API {seen.method} {_kind(seen)} ({seen.status})", ("api", 1)
                self._usage.answered += seen.answered
            else:
                what, (line, units) = operation(seen), billed(seen)
            self._usage.requests[who, what, line] += 1
            self._usage.units[who, what, line] += units

    def device(self) -> Device:
        """A new device that asks through a forwarder."""
        device = self.form.device()
        urls = {name: self._through(self.form.endpoints[name]) for name in ("metadata_url", "targets_url")}
        device.endpoints = {**device.endpoints, **urls}
        return device

    def _through(self, url: str) -> str:
        return urllib.parse.urlsplit(url)._replace(netloc=self._forwarders[DEVICES].netloc).geturl()

    def template(self) -> dict:
        """The template of the deployed stack."""
        (file,) = self.data.glob("cdk.out-*/*.template.json")
        return json.loads(file.read_text())

    # Windows of time

    @contextlib.contextmanager
    def window(self) -> Iterator[Usage]:
        """Counts what the block uses, including the work that it leaves behind."""
        self.settle()
        with self._lock:
            self._usage = usage = Usage()
        generation, log = self.form.generation(), self.data / "emulator.log"
        began, read = time.time(), log.stat().st_size
        yield usage
        usage.seconds = time.time() - began
        self.settle()
        with self._lock:
            self._usage = Usage()
        usage.generations = self.form.generation() - generation
        with log.open("rb") as file:
            file.seek(read)
            self._read_batches(usage, file.read().decode(errors="replace"))
        for stage in STAGES:
            self._read_log(usage, stage, began)

    def settle(self) -> None:
        """Waits until no work is left. Refresh still runs each minute; readers of a window leave it
        out."""
        deadline, quiet_since, last = time.monotonic() + self.patience, None, None
        while True:
            waiting = [self.form.waiting(self.form.queue(name)) for name in ("uploads", "large", "changes", "sign", "publish")]
            with self._lock:
                asked = sum(times for (who, *_), times in self._usage.requests.items() if who != "refresh")
            now = time.monotonic()
            if any(waiting) or asked != last:
                quiet_since, last = now, asked
            if now - quiet_since > 2:
                return
            if now > deadline:
                raise Refusal(f"the deployment did not come to rest within {self.patience:.0f} s: {waiting} messages wait")
            time.sleep(0.2)

    def _read_batches(self, usage: Usage, log: str) -> None:
        names = {url.rpartition("/")[2]: name.removesuffix(".fifo") for name, url in self.form.endpoints["queues"].items()}
        for _, count, queue in BATCH.findall(log):
            usage.messages[names[queue]] += int(count)
            usage.batches[names[queue]] += 1

    def _read_log(self, usage: Usage, stage: str, since: float) -> None:
        group = self.form.function(stage)["LoggingConfig"]["LogGroup"]
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
        for event in (event for page in pages for event in page["events"]):
            message = event["message"]
            usage.log_bytes[stage] += len(message.encode()) + LINE
            if message.startswith("REPORT "):
                milliseconds, memory = re.search(r"Billed Duration: ([\d.]+) ms\tMemory Size: (\d+) MB", message).groups()
                usage.invocations[stage] += 1
                usage.gb_seconds[stage] += float(milliseconds) / 1000 * int(memory) / 1024
            elif '"CloudWatchMetrics"' in message:
                usage.metrics.setdefault(stage, set()).update(_metrics(json.loads(message)))

    def stored(self) -> int:
        """The bytes in all three buckets, including older versions of objects."""
        buckets = [self.form.endpoints[f"{name}_bucket"] for name in ("uploads", "repository", "ledger")]
        pages = self.form.admin_s3.get_paginator("list_object_versions")
        listed = (page for bucket in buckets for page in pages.paginate(Bucket=bucket))
        return sum(version["Size"] for page in listed for version in page.get("Versions", []))


def _kind(seen: Seen) -> str:
    """The kind of file that a device asked for."""
    path = urllib.parse.urlsplit(seen.target).path
    if "/targets/" in path:
        return "target"
    if path.endswith("/pack"):
        return "pack"
    return "timestamp.json" if path.endswith("timestamp.json") else f"N.{path.rpartition('/')[2].partition('.')[2]}"


def _metrics(line: dict) -> Iterator[str]:
    """The metrics in a line of the embedded metric format. A name with other dimensions is another
    metric."""
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            values = ", ".join(str(line[name]) for name in dimensions)
            yield from (f"{metric['Name']} of {values}" for metric in directive["Metrics"])
