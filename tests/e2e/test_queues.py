"""Any message that anyone could put into a queue: it is dropped or becomes a dead letter, and
publishes nothing."""

import json
from collections.abc import Iterator

import pytest

from .cloud import CloudForm
from .device import sha256
from .polling import until

POISON = ["not JSON", "{}", "[]", '{"format":1}', '{"format":99,"message":"sign"}', '{"Records":1}', "x" * 100_000]


@pytest.fixture
def quick(cloud: CloudForm) -> Iterator[CloudForm]:
    """Messages become dead letters soon: after 5 and 10 more seconds. Those that a test leaves are
    removed."""
    with cloud.tries(2):
        yield cloud
        for name in cloud.dead_letters():
            cloud.sqs.purge_queue(QueueUrl=cloud.endpoints["queues"][name])


def message(body: dict | str) -> str:
    return json.dumps({"format": 1, "message": body})


def s3_event(bucket: str, key: str, event: str = "ObjectCreated:Put", version: str = "forged") -> str:
    s3 = {
        "s3SchemaVersion": "1.0",
        "configurationId": "x",
        "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
        "object": {"key": key, "size": 4, "eTag": "0", "versionId": version, "sequencer": "0"},
    }
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "x"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {},
        "s3": s3,
    }
    return json.dumps({"Records": [record]})


def publish_among(cloud: CloudForm, queue: str, bodies: list[str], folder: str) -> None:
    """Sends `bodies` with good uploads before, between and after them, which must be published
    nevertheless."""
    expected = {}
    for number, body in enumerate([*bodies, None]):
        name = f"{folder}/{number}"
        cloud.put(name, name.encode())
        expected[name] = sha256(name.encode())
        if body is not None:
            cloud.send(queue, body)
    cloud.wait_published(expected)


def test_poison_becomes_dead_letters(quick: CloudForm):
    bodies = [*POISON, message("sign")]
    queues = ("uploads", "large", "changes")
    for queue in queues:
        publish_among(quick, queue, bodies, quick.unique("poison"))
    letters = [quick.queue(queue, dead_letters=True) for queue in queues]
    until("dead letters", lambda: [quick.waiting(url) for url in letters] == [len(bodies)] * len(queues), 90, 0.2)
    assert [quick.waiting(quick.queue(queue)) for queue in queues] == [0] * len(queues)
    # Refresh brings back only readable messages.
    quick.invoke("refresh")
    assert [quick.waiting(url) for url in letters] == [len(bodies)] * len(queues)


@pytest.mark.parametrize("queue", ["sign", "publish"])
def test_poison_is_dropped_where_it_would_block(quick: CloudForm, queue: str):
    bodies = [*POISON, message({"changes": []})]
    publish_among(quick, queue, bodies, quick.unique("dropped"))
    until("empty", lambda: quick.waiting(quick.queue(queue)) == 0, 60, 0.2)
    assert not any(quick.dead_letters().values()), quick.dead_letters()


def test_forged_events_publish_nothing(quick: CloudForm):
    folder = quick.unique("forged")
    real, never, other = f"{folder}/real", f"{folder}/never", f"{folder}/other"
    quick.put(real, b"real")
    quick.put(other, b"other")
    quick.wait_published({real: sha256(b"real"), other: sha256(b"other")})
    bucket, key = quick.bucket, quick.key
    bodies = [
        s3_event(bucket, key(never)),
        s3_event("someone-elses", key(never)),
        s3_event(bucket, f"elsewhere/{never}"),
        s3_event(bucket, key(real), "ObjectRemoved:DeleteMarkerCreated"),
        s3_event(bucket, key(real), "LifecycleExpiration:DeleteMarkerCreated"),
        s3_event(bucket, key(real), version="../../x"),
        s3_event(bucket, key(f"{folder}/../../escape")),
        message({"uploads": [{"name": never}, {"name": real, "removed": True}]}),
    ]
    publish_among(quick, "uploads", bodies, folder)
    large = [message({"large": {"name": name, "removed": True, "version": "forged"}}) for name in (never, real, "../x")]
    publish_among(quick, "large", large, folder)
    check_unharmed(quick, real, never, other)


def test_forged_changes_publish_nothing(quick: CloudForm):
    folder = quick.unique("changes")
    real, never, other = f"{folder}/real", f"{folder}/never", f"{folder}/other"
    quick.put(real, b"old")
    versions = quick.admin_s3.list_object_versions(Bucket=quick.bucket, Prefix=quick.key(real))["Versions"]
    old = versions[0]["VersionId"]
    quick.put(real, b"real")
    quick.put(other, b"other")
    quick.wait_published({real: sha256(b"real"), other: sha256(b"other")})
    current = quick.admin_s3.head_object(Bucket=quick.bucket, Key=quick.key(other))["VersionId"]
    changes: list[dict | str] = [
        {"set": {"name": never, "version": "1"}},
        {"set": {"name": never, "version": current}},
        {"set": {"name": real, "version": old}},
        {"set": {"name": real, "version": current}},
        {"remove": {"name": real, "marker": None}},
        {"remove": {"name": real, "marker": old}},
        {"look": {"name": real}},
        {"look": {"name": never}},
        {"void": {"generation": quick.generation()}},
        {"void": {"generation": quick.generation() + 1}},
        "decision",
        {"renew": {"role": "targets", "version": 1}},
    ]
    bodies = [message({"changes": [change]}) for change in changes] + [message({"changes": changes})]
    publish_among(quick, "changes", bodies, folder)
    check_unharmed(quick, real, never, other)


def check_unharmed(cloud: CloudForm, real: str, never: str, other: str) -> None:
    for queue in ("uploads", "large", "changes", "sign.fifo", "publish.fifo"):
        until("handled", lambda: cloud.waiting(cloud.endpoints["queues"][queue]) == 0, 60, 0.2)
    expected = {real: sha256(b"real"), other: sha256(b"other"), never: None}
    cloud.wait_published(expected, seconds=5)
    assert not any(cloud.dead_letters().values()), cloud.dead_letters()
