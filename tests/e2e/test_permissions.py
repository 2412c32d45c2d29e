"""Each function may do what it must, and nothing else. Prints a table of each.

The lists below are what the functions may do, all of it: the first table fails where a role has more or less, the second
where a function can do more. What the emulator's flag leaves out of the policies is tested in `cdk/test`.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest

from .attempts import Attempt, Attempts, Identity
from .cloud import CloudForm
from .device import sha256
from .permissions import CONSUMES, STAGES, Permission, Permissions
from .polling import until
from .probes import LARGE, LONG_TIMESTAMP, PASSED_ON, STRICT, Bench, StageFailed, held_still

pytestmark = pytest.mark.emulator

# Which permissions fail each probe when they are taken away.
PROVEN: dict[str, dict[str, list[str]]] = {
    "hash": {
        "an upload": [
            "s3:GetObject uploads/targets/*",
            "s3:GetObjectVersion uploads/targets/*",
            "s3:PutObject repository/incoming/*",
            "s3:GetObject repository/blobs/*",
            "s3:PutObject repository/blobs/*",
            "s3:GetObject ledger/hashed/*",
            "s3:PutObject ledger/hashed/*",
            "sqs:SendMessage queue changes",
        ],
        "an upload with a bad name": [
            "s3:GetObject ledger/rejected/*",
            "s3:PutObject ledger/rejected/*",
            "events:PutEvents bus",
        ],
        "a bad overwrite": ["s3:ListBucketVersions uploads"],
        "a name without an upload": ["s3:ListBucket uploads"],
        "a large upload": ["sqs:SendMessage queue large"],
        "a document of another party": [
            "s3:GetObject uploads/delegations/*",
            "s3:GetObjectVersion uploads/delegations/*",
        ],
        "a message that fails": ["sqs:ChangeMessageVisibility queue uploads"],
    },
    "large": {
        "an upload": [
            "s3:GetObject uploads/targets/*",
            "s3:GetObjectVersion uploads/targets/*",
            "s3:PutObject repository/incoming/*",
            "s3:GetObject repository/blobs/*",
            "s3:PutObject repository/blobs/*",
            "s3:GetObject ledger/hashed/*",
            "s3:PutObject ledger/hashed/*",
            "s3:GetObject ledger/hashing/*",
            "sqs:SendMessage queue changes",
        ],
        "an upload that takes several runs": ["s3:PutObject ledger/hashing/*", "sqs:SendMessage queue large"],
        "an upload that is copied in parts": [
            "s3:ListBucketMultipartUploads repository",
            "s3:ListMultipartUploadParts repository/blobs/*",
        ],
        "an upload with a bad name": [
            "s3:GetObject ledger/rejected/*",
            "s3:PutObject ledger/rejected/*",
            "events:PutEvents bus",
        ],
        "a bad overwrite": ["s3:ListBucketVersions uploads"],
        "a name without an upload": ["s3:ListBucket uploads"],
        "a message that fails": ["sqs:ChangeMessageVisibility queue large"],
    },
    "rebuild": {
        "a renewal": [
            "s3:GetObject repository/metadata/*",
            "s3:GetObject ledger/generations/*",
            "s3:GetObject ledger/drafts/*",
            "s3:PutObject ledger/generations/*",
            "s3:PutObject ledger/drafts/*",
            "sqs:SendMessage queue sign",
        ],
        "a renewal of a bin": ["s3:GetObject ledger/index/*", "s3:PutObject ledger/index/*"],
        "a generation that waits": ["s3:GetObject ledger/refused/*", "s3:ListBucket ledger"],
        "a decision of an operator": ["s3:GetObject ledger/decisions/*"],
        "a key of the bins to replace": ["kms:GetPublicKey key bins"],
        "an upload without a receipt": [
            "s3:GetObject uploads/targets/*",
            "s3:GetObject ledger/hashed/*",
            "sqs:SendMessage queue uploads",
        ],
        "a bad overwrite": ["s3:GetObjectVersion uploads/targets/*", "s3:ListBucketVersions uploads"],
        "a name without an upload": ["s3:ListBucket uploads", "events:PutEvents bus"],
        "a removal that is held": ["s3:GetObject ledger/removals-accepted.json", "s3:PutObject ledger/held/*"],
        "a document of another party": [
            "s3:GetObject uploads/delegations/*",
            "s3:GetObjectVersion uploads/delegations/*",
            "s3:GetObject repository/blobs/*",
            "s3:GetObject ledger/parties/*",
            "s3:GetObject ledger/delivered/*",
            "s3:PutObject ledger/parties/*",
            "s3:PutObject ledger/delivered/*",
        ],
        "a message that fails": ["sqs:ChangeMessageVisibility queue changes"],
    },
    "sign": {
        "a generation that waits": [
            "s3:GetObject repository/metadata/*",
            "s3:PutObject repository/metadata/*.*.json",
            "s3:GetObject ledger/generations/*",
            "s3:GetObject ledger/drafts/*",
            "s3:ListBucket ledger",
            "sqs:SendMessage queue publish",
            "kms:Sign key targets",
            "kms:GetPublicKey key targets",
            "kms:Sign key snapshot",
            "kms:GetPublicKey key snapshot",
        ],
        "several generations that wait": ["s3:GetObject ledger/refused/*"],
        "a bin that waits": ["s3:GetObject ledger/index/*", "kms:Sign key bins", "kms:GetPublicKey key bins"],
        "a new target": [
            "s3:GetObject uploads/targets/*",
            "s3:GetObject ledger/hashed/*",
            "s3:PutObject repository/checked/*",
        ],
        "a target that was overwritten": ["s3:GetObjectVersion uploads/targets/*", "s3:ListBucketVersions uploads"],
        "a target that is gone for good": ["s3:ListBucket uploads"],
        "a decision of an operator": ["s3:GetObject ledger/decisions/*"],
        "a generation that is made up": [
            "s3:PutObject ledger/refused/*",
            "sqs:SendMessage queue changes",
            "events:PutEvents bus",
        ],
        "a document of another party": ["s3:GetObject ledger/parties/*", "s3:GetObject ledger/delivered/*"],
        "a message that fails": ["sqs:ChangeMessageVisibility queue sign"],
    },
    "publish": {
        "a signed generation": [
            "s3:GetObject repository/metadata/*",
            "s3:PutObject repository/metadata/timestamp.json",
            "s3:GetObject ledger/generations/*",
            "s3:GetObject ledger/drafts/*",
            "s3:GetObject ledger/root-intent.json",
            "s3:ListBucket ledger",
            "kms:Sign key timestamp",
            "kms:GetPublicKey key timestamp",
        ],
        "a bin": ["s3:GetObject ledger/index/*"],
        "a new target": [
            "s3:GetObject repository/blobs/*",
            "s3:GetObject uploads/targets/*",
            "s3:GetObject ledger/hashed/*",
            "s3:PutObject repository/checked/*",
        ],
        "a target that was overwritten": ["s3:GetObjectVersion uploads/targets/*", "s3:ListBucketVersions uploads"],
        "a target that is gone for good": ["s3:ListBucket uploads"],
        "a document of another party": ["s3:GetObject ledger/parties/*", "s3:GetObject ledger/delivered/*"],
        "a decision of an operator": ["s3:GetObject ledger/decisions/*"],
        "a generation that was passed over": ["sqs:SendMessage queue uploads"],
        "events not sent yet": [
            "s3:GetObject ledger/announced.json",
            "s3:PutObject ledger/announced.json",
            "events:PutEvents bus",
        ],
        "a generation that the gate refuses": [
            "s3:GetObject ledger/refused/*",
            "s3:PutObject ledger/refused/*",
            "sqs:SendMessage queue changes",
        ],
        "a generation that is not signed": ["sqs:SendMessage queue sign"],
        "a message that fails": ["sqs:ChangeMessageVisibility queue publish"],
    },
    "refresh": {
        "nothing to do": [
            "s3:GetObject repository/metadata/*",
            "s3:GetObject ledger/generations/*",
            "s3:GetObject ledger/announced.json",
            "s3:GetObject ledger/decisions/*",
            "s3:GetObject ledger/root-intent.json",
            "kms:GetPublicKey key bins",
        ],
        "several generations that wait": ["s3:ListBucket ledger", "s3:GetObject ledger/refused/*"],
        "a document of another party": ["s3:GetObject ledger/parties/*"],
        "a timestamp that is due": [
            "s3:PutObject repository/metadata/timestamp.json",
            "kms:Sign key timestamp",
            "kms:GetPublicKey key timestamp",
        ],
        "events not sent yet": ["s3:PutObject ledger/announced.json", "events:PutEvents bus"],
        **{
            f"a dead letter of {queue}": [
                f"sqs:SendMessage queue {queue}",
                f"sqs:GetQueueAttributes queue {queue}",
                f"sqs:GetQueueAttributes queue {queue}-dlq",
                f"sqs:ReceiveMessage queue {queue}-dlq",
                f"sqs:DeleteMessage queue {queue}-dlq",
            ]
            for queue in CONSUMES.values()
        },
    },
    "serve": {
        "a metadata file": ["s3:GetObject repository/metadata/*"],
        "a target": ["s3:GetObject repository/blobs/*"],
    },
}


@dataclass(frozen=True)
class Unproven:
    """Permissions that no probe on the emulator can show to be needed."""

    # Each with the stages that have it. `{stage}` is the stage, `{queue}` the queue that it works off.
    permissions: dict[str, list[str]]
    why: str
    # Where AWS says what they are for.
    page: str


WORKERS = list(CONSUMES)

UNPROVEN = [
    Unproven(
        {"logs:CreateLogStream log {stage}": STAGES, "logs:PutLogEvents log {stage}": STAGES},
        "the emulator writes a function's log without its role",
        "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html",
    ),
    Unproven(
        {
            "sqs:ReceiveMessage queue {queue}": WORKERS,
            "sqs:DeleteMessage queue {queue}": WORKERS,
            "sqs:GetQueueAttributes queue {queue}": WORKERS,
        },
        "the emulator's mapping works off the queue without the role",
        "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html",
    ),
    Unproven(
        {"s3:ListBucket repository": STAGES, "s3:ListBucket ledger": ["hash", "large"]},
        "only for keys that aren't there: without it S3 says 403, but the emulator 404",
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html",
    ),
    Unproven(
        {"s3:GetObject repository/incoming/*": ["hash", "large"]},
        "the emulator's copies get no SHA-256, so no blob is made of one",
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html",
    ),
    Unproven(
        {"s3:GetObject ledger/index/*": ["refresh"]},
        "only where bins expire within a month, or their key is replaced",
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html",
    ),
    Unproven(
        {"kms:GetPublicKey key targets": ["refresh"], "kms:GetPublicKey key snapshot": ["refresh"]},
        "only while the root lists several keys of the role, one of which is replaced",
        "https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html",
    ),
    Unproven(
        {"s3:GetObject ledger/rejected/*": ["rebuild"], "s3:PutObject ledger/rejected/*": ["rebuild"]},
        "only where as many names as a bin may list have SHA-256 with the same first 12 digits",
        "https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html",
    ),
    Unproven(
        {"sqs:SendMessage queue uploads": ["sign"]},
        "only where a receipt says otherwise than S3 of bytes that a generation has: none of rebuild's does",
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html",
    ),
    Unproven(
        {"kms:GetPublicKey key bins": ["publish"]},
        "only while the key of the bins is replaced",
        "https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html",
    ),
]

# What a role may never do, whatever else it may.
NEVER = "s3:PutObject repository/metadata/*.root.json"

# What is denied to administrators too, by the policy of the bucket, the key or the role.
NOT_FOR_ADMINS = ["s3:DeleteObject* repository/*", "s3:DeleteObject* ledger/*", "kms:Sign *", "sts:AssumeRole *"]

# How the adapters tell that a request was denied. An answer to HEAD has a status only.
DENIED = re.compile(r"AccessDenied|HTTP 403")


def proven(stage: str) -> dict[str, str]:
    """Each permission of a stage that a probe needs, with the probe."""
    return {permission: what for what, needed in PROVEN[stage].items() for permission in needed}


def unproven(stage: str) -> dict[str, Unproven]:
    """Each permission of a stage that can't be proven, with its entry of the list."""
    return {
        permission.format(stage=stage, queue=CONSUMES.get(stage)): entry
        for entry in UNPROVEN
        for permission, stages in entry.permissions.items()
        if stage in stages
    }


@pytest.fixture(scope="module")
def own(deploy: Callable[..., CloudForm]) -> CloudForm:
    """A deployment of its own: nobody else feels what is forbidden here, and it has bins."""
    return deploy("Permissions", {"access": "open"})


@pytest.fixture(scope="module")
def permissions(own: CloudForm) -> Permissions:
    return Permissions(own)


@pytest.fixture(scope="module")
def bench(own: CloudForm, permissions: Permissions) -> Iterator[Bench]:
    assert not any(own.dead_letters().values()), own.dead_letters()
    with held_still(own, permissions):
        yield Bench(own, permissions)
        # Those that refresh looked at and couldn't bring back.
        for name in own.dead_letters():
            own.sqs.purge_queue(QueueUrl=own.endpoints["queues"][name])


def label(permissions: Permissions, permission: Permission) -> str:
    """A permission as the lists have it."""
    return f"{permission.action} {permissions.short(permission.resource)}"


def not_provable(permissions: Permissions, stage: str) -> list[Permission]:
    """What a stage's role has of what can't be proven."""
    entries = unproven(stage)
    return [permission for permission in permissions.of(stage) if label(permissions, permission) in entries]


def test_what_cannot_be_proven_is_not_needed_here(own: CloudForm, permissions: Permissions):
    """With all of it taken away at once the pipeline works, woken by its queues."""
    started = time.time()
    folder = own.unique("unproven")
    name, large = f"{folder}/a", f"{folder}/large"
    with contextlib.ExitStack() as taken:
        for stage in STAGES:
            taken.enter_context(permissions.without(stage, not_provable(permissions, stage)))
        own.put(name, b"a")
        own.wait_published({name: sha256(b"a")})
        until("told", lambda: own.told([name])[name])
        with own.configured("hash", PASSED_ON):
            own.put(large, b"large" * 20)
            own.wait_published({large: sha256(b"large" * 20)})
        own.invoke("refresh")
        for stage in STAGES:
            until(f"logged by {stage}", lambda: own.log(stage, started))


def test_each_permission_is_needed(own: CloudForm, permissions: Permissions, bench: Bench):
    faults = []
    print("\neach permission of each role, and the situation in which its function fails without it")
    with contextlib.ExitStack() as configured:
        # Sign and publish judge a generation by the policy that rebuild made it under.
        strict = dict.fromkeys(["rebuild", "sign", "publish"], STRICT)
        for stage, config in {"hash": PASSED_ON, "large": LARGE, **strict, "refresh": LONG_TIMESTAMP}.items():
            configured.enter_context(own.configured(stage, config))
        for stage in STAGES:
            for permission, verdict, is_fault in judged(permissions, bench, stage):
                print(f"  {stage:8} {columns(permission)} {'FAULT: ' if is_fault else ''}{verdict}")
                if is_fault:
                    faults.append(f"{stage}: {permission}: {verdict}")
    print("what the emulator can't show to be needed")
    for number, entry in enumerate(UNPROVEN, 1):
        print(f"  [{number}] {entry.why}: {entry.page}")
    assert not faults, "\n".join(faults)


def columns(permission: str) -> str:
    action, _, resource = permission.partition(" ")
    return f"{action:27} {resource:34}"


def judged(permissions: Permissions, bench: Bench, stage: str) -> Iterator[tuple[str, str, bool]]:
    """A stage's permissions, each with what is to be said of it, and whether that is a fault."""
    probes, entries = proven(stage), unproven(stage)
    assert not probes.keys() & entries.keys(), "in both lists"
    found = {label(permissions, permission): permission for permission in permissions.of(stage)}
    needed = needed_after_all(permissions, bench, stage)
    for name, permission in found.items():
        if what := probes.get(name):
            fault = prove(permissions, bench, stage, permission, what)
            yield name, fault or f"proven by: {what}", bool(fault)
        elif what := needed.get(permission):
            yield name, f"listed as not provable, but '{what}' fails without it", True
        elif entry := entries.get(name):
            yield name, f"not provable here [{UNPROVEN.index(entry) + 1}]", False
        else:
            yield name, "neither proven nor listed", True
    for name in sorted((probes.keys() | entries.keys()) - found.keys()):
        yield name, "the role doesn't have it", True


def prove(permissions: Permissions, bench: Bench, stage: str, permission: Permission, what: str) -> str:
    """What is wrong with the proof by a probe that a stage needs a permission; empty where nothing is."""
    with permissions.without(stage, [permission]):
        failure = failure_of(permissions, bench, stage, permission, what)
    if failure is None:
        return f"not needed: '{what}' succeeds without it"
    if failure.stage != stage or not DENIED.search(str(failure)):
        return f"'{what}' fails without it, but for another reason: {failure}"
    failure = failure_of(permissions, bench, stage, permission, what)
    return f"'{what}' still fails with it: {failure}" if failure else ""


def failure_of(
    permissions: Permissions, bench: Bench, stage: str, permission: Permission, what: str
) -> StageFailed | None:
    """How a probe fails, if it does."""
    if permission.action == "kms:GetPublicKey" or "ledger/" in permissions.short(permission.resource):
        bench.forget(stage)  # each process asks for a public key once, and keeps what never changes
    for _ in range(2):
        try:
            bench.probes[stage][what]()
            return None
        except StageFailed as failure:
            found = failure
        # The process that was just ended may still be given the first event.
        if "Runtime.ExitError" not in str(found):
            break
    return found


def needed_after_all(permissions: Permissions, bench: Bench, stage: str) -> dict[Permission, str]:
    """Which of a stage's permissions that are listed as not provable a probe needs, with the probe."""
    listed = not_provable(permissions, stage)
    with permissions.without(stage, listed):
        bench.forget(stage)
        suspects = [what for what in bench.probes[stage] if failure_of(permissions, bench, stage, listed[0], what)]
    needed = {}
    # One that fails in any case needs something else, which is told elsewhere.
    for what in [what for what in suspects if not failure_of(permissions, bench, stage, listed[0], what)]:
        for permission in listed:
            with permissions.without(stage, [permission]):
                if failure_of(permissions, bench, stage, permission, what):
                    needed[permission] = what
    return needed


def test_no_function_can_do_anothers_work(own: CloudForm, permissions: Permissions, bench: Bench):
    who = {stage: Identity(own, bench.keys(stage)) for stage in STAGES}
    who["admin"] = Identity(own, own.admin_keys)
    faults = []
    print("\nwhat each function may do and is denied, tried with its own keys")
    print(f"  {columns('')} " + " ".join(f"{one:8}" for one in who).rstrip())
    for name, attempt in everything(own, permissions):
        cells = {one: cell(permissions, one, identity, attempt) for one, identity in who.items()}
        print(f"  {columns(name)} " + " ".join(f"{text:8}" for text in cells.values()).rstrip())
        faults += [f"{one}: {name}: {text}" for one, text in cells.items() if text.endswith("!")]
    assert not faults, "\n".join(faults)


def everything(own: CloudForm, permissions: Permissions) -> Iterator[tuple[str, Attempt]]:
    """What any function may do, and what none may; each with an attempt at it."""
    attempts, met = Attempts(own, permissions), set()
    for stage in STAGES:
        for permission in permissions.of(stage):
            name = label(permissions, permission)
            if name in proven(stage).keys() | unproven(stage).keys() and name not in met:
                met.add(name)
                yield name, attempts.at(permission)
    for attempt in attempts.at_nobodys():
        yield f"{attempt.action} {permissions.short(attempt.resource)}", attempt


def cell(permissions: Permissions, who: str, identity: Identity, attempt: Attempt) -> str:
    """What became of an attempt; with an exclamation mark where that isn't as the lists say."""
    resource = permissions.short(attempt.resource)
    due = is_due(who, f"{attempt.action} {resource}")
    if resource == f"log {who}":
        return "(may)"  # the emulator asks for rights on the log, where AWS asks for rights on its stream
    may = not attempt.is_denied(identity)
    return f"{'may' if may else 'denied'}{'' if may == due else '!'}"


def is_due(who: str, tried: str) -> bool:
    """Whether somebody must be allowed this: by the lists, not by what the roles say."""
    if who == "admin":
        return not any(fnmatchcase(tried, denied) for denied in NOT_FOR_ADMINS)
    permitted = proven(who).keys() | unproven(who).keys()
    return any(fnmatchcase(tried, permission) for permission in permitted) and not fnmatchcase(tried, NEVER)
