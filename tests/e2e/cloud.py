"""The form on AWS: a deployment on the local emulator, or in a real account."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from cloud_lib import processes

from .form import Form

# Small enough that 21 MiB take several parts.
TRANSFER = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)


class CloudForm(Form):
    """The deployment with its `endpoints.json` and `admin.json` in `data`."""

    kind = "cloud"

    def __init__(self, scratch: Path, data: Path) -> None:
        super().__init__(scratch)
        self.data = data
        # The emulator's folder.
        self.home = data
        self.endpoints = json.loads((data / "endpoints.json").read_text())
        self.admin_keys = json.loads((data / "admin.json").read_text())
        self.s3 = self.connect("s3", self.endpoints)
        self.admin_s3 = self.connect("s3")
        self.sqs = self.connect("sqs")
        self.bucket = self.endpoints["uploads_bucket"]
        self._events = EventTap(self)

    def close(self) -> None:
        """Removes what the tests added to the deployment."""
        self._events.close()

    def connect(self, service: str, keys: dict | None = None):
        """A client for `service`, with the administrator's keys by default."""
        keys = keys or self.admin_keys
        return boto3.client(
            service,
            endpoint_url=self.endpoints.get("aws"),
            region_name=self.endpoints["region"],
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=keys.get("session_token"),
            config=Config(max_pool_connections=32),
        )

    def new_user(self, what: str, *statements: dict) -> dict[str, str]:
        """The keys of a new IAM user with these statements as its policy."""
        iam, name = self.connect("iam"), self.unique(what)
        iam.create_user(UserName=name)
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"user": name, "access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}

    def key(self, name: str) -> str:
        """The S3 key of an upload."""
        return f"{self.endpoints['uploads_prefix']}{name}"

    def put(self, name: str, data: bytes, custom: str | None = None) -> None:
        metadata = {} if custom is None else {"tuf-custom": custom}
        self.s3.put_object(Bucket=self.bucket, Key=self.key(name), Body=data, Metadata=metadata)

    def put_file(self, name: str, path: Path) -> None:
        """Uploads in parts. S3 then keeps a checksum of checksums, which Tufline must not take for
        the file's."""
        extra = {"ChecksumAlgorithm": "SHA256"}
        self.s3.upload_file(str(path), self.bucket, self.key(name), ExtraArgs=extra, Config=TRANSFER)

    def deliver(self, role: str, data: bytes) -> None:
        self.admin_s3.put_object(Bucket=self.bucket, Key=f"delegations/{role}.json", Body=data)

    def remove(self, name: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=self.key(name))

    def place(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.key(name)}"

    def events(self) -> list[dict]:
        return self._events.so_far()

    def keys(self, bucket: str, prefix: str, after: str = "") -> list[str]:
        """The keys in a bucket of the pipeline."""
        pages = self.admin_s3.get_paginator("list_objects_v2")
        listed = pages.paginate(Bucket=self.endpoints[bucket], Prefix=prefix, StartAfter=after)
        return [entry["Key"] for page in listed for entry in page.get("Contents", [])]

    def blobs(self) -> set[str]:
        return {key.removeprefix("blobs/") for key in self.keys("repository_bucket", "blobs/")}

    def manifests(self, after: int = 0) -> list[dict]:
        return [self._manifest(key) for key in self.keys("ledger_bucket", "generations/", f"generations/{after:020}.json")]

    def _manifest(self, key: str) -> dict:
        return json.load(self.admin_s3.get_object(Bucket=self.endpoints["ledger_bucket"], Key=key)["Body"])

    def generation(self) -> int:
        keys = self.keys("ledger_bucket", "generations/")
        return int(Path(keys[-1]).stem) if keys else 0

    def metadata_contents(self) -> dict[str, int]:
        pages = self.admin_s3.get_paginator("list_object_versions")
        contents: dict[str, int] = {}
        for page in pages.paginate(Bucket=self.endpoints["repository_bucket"], Prefix="metadata/"):
            for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
                contents[version["Key"]] = contents.get(version["Key"], 0) + 1
        return contents

    def connection(self, operator: bool) -> list[object]:
        admin = ["--admin", self.data / "admin.json"] if operator else []
        return ["--endpoints", self.data / "endpoints.json", *admin]

    # Queues

    def queue(self, name: str, dead_letters: bool = False) -> str:
        """The URL of the queue `name`, or of its dead-letter queue."""
        fifo = ".fifo" if name in ("sign", "publish") else ""
        return self.endpoints["queues"][f"{name}{'-dlq' if dead_letters else ''}{fifo}"]

    def waiting(self, url: str) -> int:
        """How many messages of a queue wait or are being handled."""
        counted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counted)["Attributes"]
        return sum(int(attributes[name]) for name in counted)

    def dead_letters(self) -> dict[str, int]:
        """How many dead letters each queue has."""
        return {name: self.waiting(url) for name, url in self.endpoints["queues"].items() if "-dlq" in name}

    def send(self, name: str, body: str) -> None:
        """Sends any message."""
        group = {"MessageGroupId": "all", "MessageDeduplicationId": uuid.uuid4().hex} if name in ("sign", "publish") else {}
        self.sqs.send_message(QueueUrl=self.queue(name), MessageBody=body, **group)

    def visibility(self, seconds: int) -> contextlib.AbstractContextManager:
        """During the block, messages of a crashed function come again after this many seconds, not
        after minutes."""
        return self._queues_with("VisibilityTimeout", lambda _: str(seconds))

    def tries(self, count: int) -> contextlib.AbstractContextManager:
        """During the block, messages become dead letters after this many tries."""
        return self._queues_with("RedrivePolicy", lambda policy: json.dumps({**json.loads(policy), "maxReceiveCount": count}))

    @contextlib.contextmanager
    def _queues_with(self, attribute: str, change: Callable[[str], str]) -> Iterator[None]:
        urls = [self.queue(name) for name in ("uploads", "large", "changes", "sign", "publish")]
        before = {}
        for url in urls:
            answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
            before[url] = answer["Attributes"][attribute]
        try:
            for url in urls:
                self.sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: change(before[url])})
            yield
        finally:
            for url in urls:
                self.sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: before[url]})

    # Functions

    def function(self, stage: str) -> dict:
        """The configuration of a stage's function."""
        pages = self.connect("lambda").get_paginator("list_functions").paginate()
        ours = [
            function
            for page in pages
            for function in page["Functions"]
            if function["Handler"] == stage
            and function.get("Environment", {}).get("Variables", {}).get("TUFLINE_UPLOADS_BUCKET") == self.bucket
        ]
        assert len(ours) == 1, f"{len(ours)} functions of stage {stage}"
        return ours[0]

    @contextlib.contextmanager
    def denied(self, stage: str, action: str) -> Iterator[None]:
        """Denies a function an action during the block."""
        iam = self.connect("iam")
        role = self.function(stage)["Role"].rpartition("/")[2]
        statement = {"Effect": "Deny", "Action": action, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=role, PolicyName="e2e-outage", PolicyDocument=policy)
        try:
            yield
        finally:
            iam.delete_role_policy(RoleName=role, PolicyName="e2e-outage")

    @contextlib.contextmanager
    def configured(self, stage: str, config: dict) -> Iterator[None]:
        """Gives a function another configuration during the block."""
        function = self.function(stage)
        name, variables = function["FunctionName"], function["Environment"]["Variables"]
        self.set_variables(name, {**variables, "TUFLINE_CONFIG": json.dumps(config)})
        try:
            yield
        finally:
            self.set_variables(name, variables)

    def set_variables(self, function: str, variables: dict[str, str]) -> None:
        """Gives the function of this name another environment, and waits until it has it."""
        client = self.connect("lambda")
        client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
        client.get_waiter("function_updated_v2").wait(FunctionName=function)

    def invoke(self, stage: str) -> None:
        """Runs a function once, as the schedule does."""
        name = self.function(stage)["FunctionName"]
        answer = self.connect("lambda").invoke(FunctionName=name, Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()

    def log(self, stage: str, since: float) -> str:
        """What a function has logged since a time, in seconds since 1970."""
        group = self.function(stage)["LoggingConfig"]["LogGroup"]
        pages = self.connect("logs").get_paginator("filter_log_events")
        answer = pages.paginate(logGroupName=group, startTime=int(since * 1000))
        return "\n".join(event["message"] for page in answer for event in page["events"])

    def function_processes(self) -> dict[int, str]:
        """The emulator's function processes, each with its stage."""
        return {pid: variables["_HANDLER"] for pid, variables in self.function_environments().items()}

    def function_environments(self) -> dict[int, dict[str, str]]:
        """The emulator's function processes, each with its environment. Other deployments on the
        emulator have processes too."""
        running = processes.running(self.home)
        ours = {"TUFLINE_UPLOADS_BUCKET": self.bucket}.items()
        return {pid: variables for pid, variables in running.items() if "_HANDLER" in variables and ours <= variables.items()}


class EventTap:
    """Collects the events that the pipeline puts on its event bus, through a rule and a queue of
    the tests."""

    def __init__(self, form: CloudForm) -> None:
        self._sqs = form.connect("sqs")
        self._bus = form.connect("events")
        self._names = {"bus": form.endpoints["event_bus"], "own": f"e2e-{uuid.uuid4().hex[:12]}"}
        self._url = self._sqs.create_queue(QueueName=self._names["own"])["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        may_send = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        rule = {"Name": self._names["own"], "EventBusName": self._names["bus"]}
        self._bus.put_rule(**rule, EventPattern=json.dumps({"source": ["tufline"]}))
        target = {"Rule": rule["Name"], "EventBusName": rule["EventBusName"]}
        self._bus.put_targets(**target, Targets=[{"Id": "tap", "Arn": arn}])
        self._events: list[dict] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        while not self._over.is_set():
            answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                self._events.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
            if not answer.get("Messages"):
                time.sleep(0.02)

    def so_far(self) -> list[dict]:
        return list(self._events)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        rule = {"Rule": self._names["own"], "EventBusName": self._names["bus"]}
        self._bus.remove_targets(**rule, Ids=["tap"])
        self._bus.delete_rule(Name=self._names["own"], EventBusName=self._names["bus"])
        self._sqs.delete_queue(QueueUrl=self._url)
