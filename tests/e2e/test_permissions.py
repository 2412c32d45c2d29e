"""Each function may do what it must, and nothing else. Prints two tables.

`permissions.json` lists by hand everything that the functions may do, each with a situation that
needs it. The first table fails if a role has more or less, the second if a function can do more.
The list is independent of `cdk/lib/permissions.ts`, which makes the policies: a judge that repeats
what it judges says nothing. `cdk/test/permissions.test.ts` compares the template with the same
list, including what the emulator's flag leaves out of the policies.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from .attempts import Attempt, Attempts, Identity
from .cloud import CloudForm
from .device import sha256
from .http_client import ask
from .permissions import CONSUMES, STAGES, Permission, Permissions
from .polling import until
from .probes import LARGE, LONG_TIMESTAMP, PASSED_ON, STRICT, Bench, StageFailed, held_still
from .test_chunks import urls

pytestmark = pytest.mark.emulator

LISTS = json.loads(Path(__file__).with_name("permissions.json").read_text())

# The permissions whose removal makes each probe fail: by function, and by probe.
PROVEN: dict[str, dict[str, list[str]]] = LISTS["proven"]


@dataclass(frozen=True)
class Unproven:
    """Permissions that no probe on the emulator can prove to be needed."""

    # Each with the stages that have it. `{stage}` is the stage, `{queue}` the queue that it
    # consumes.
    permissions: dict[str, list[str]]
    why: str
    # The AWS page that explains them.
    page: str


UNPROVEN = [Unproven(**entry) for entry in LISTS["unproven"]]

# What a role may never do, whatever else it may do.
NEVER: dict[str, list[str]] = LISTS["never"]

# What the policy of the bucket, the key or the role denies even to administrators.
NOT_FOR_ADMINS = ["s3:DeleteObject* repository/*", "s3:DeleteObject* ledger/*", "kms:Sign *", "sts:AssumeRole *"]

LONG_ENOUGH_FOR_CHUNKS = b"large" * 14_000

# How the adapters report a denial. An answer to HEAD has only a status.
DENIED = re.compile(r"AccessDenied|HTTP 403")


def proven(stage: str) -> dict[str, str]:
    """Each permission of a stage that a probe needs, with the probe."""
    return {permission: what for what, needed in PROVEN[stage].items() for permission in needed}


def unproven(stage: str) -> dict[str, Unproven]:
    """Each permission of a stage that can't be proven, with its entry in the list."""
    return {
        permission.format(stage=stage, queue=CONSUMES.get(stage)): entry
        for entry in UNPROVEN
        for permission, stages in entry.permissions.items()
        if stage in stages
    }


@pytest.fixture(scope="module")
def own(deploy: Callable[..., CloudForm]) -> CloudForm:
    """A deployment for these tests, so that a denial affects no others. It has bins and chunks."""
    return deploy("Permissions", {"access": "open", "chunks": "true"})


@pytest.fixture(scope="module")
def permissions(own: CloudForm) -> Permissions:
    return Permissions(own)


@pytest.fixture(scope="module")
def bench(own: CloudForm, permissions: Permissions) -> Iterator[Bench]:
    assert not any(own.dead_letters().values()), own.dead_letters()
    with held_still(own, permissions):
        yield Bench(own, permissions)
        # Dead letters that refresh looked at and couldn't bring back.
        for name in own.dead_letters():
            own.sqs.purge_queue(QueueUrl=own.endpoints["queues"][name])


def label(permissions: Permissions, permission: Permission) -> str:
    """A permission in the lists' form."""
    return f"{permission.action} {permissions.short(permission.resource)}"


def not_provable(permissions: Permissions, stage: str) -> list[Permission]:
    """A stage's permissions that can't be proven."""
    entries = unproven(stage)
    return [permission for permission in permissions.of(stage) if label(permissions, permission) in entries]


def test_what_cannot_be_proven_is_not_needed_here(own: CloudForm, permissions: Permissions):
    """With all of these removed at once, the pipeline works, invoked by its queues."""
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
            own.put(large, LONG_ENOUGH_FOR_CHUNKS)
            own.wait_published({large: sha256(LONG_ENOUGH_FOR_CHUNKS)})
        own.invoke("refresh")
        assert ask(f"{own.endpoints['pack_url']}?have=1.root&dict={'0' * 16}").status == 200
        chunks = urls(own, large, LONG_ENOUGH_FOR_CHUNKS)
        until("cut", lambda: ask(chunks[0]).status in (200, 307))
        for stage in STAGES:
            until(f"logged by {stage}", lambda: own.log(stage, started))


def test_each_permission_is_needed(own: CloudForm, permissions: Permissions, bench: Bench):
    faults = []
    print("\neach permission of each role, and the situation in which its function fails without it")
    with contextlib.ExitStack() as configured:
        # Sign and publish judge a generation by the policy under which rebuild made it.
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
    """A stage's permissions, each with the verdict, and whether that is a fault."""
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
    """What is wrong with a probe's proof that a stage needs a permission; empty if nothing is."""
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
    """How a probe fails, or `None`."""
    is_kept = "ledger/" in permissions.short(permission.resource) or stage == "pack"
    if permission.action == "kms:GetPublicKey" or is_kept:
        bench.forget(stage)  # each process asks for a public key once, and keeps what never changes
    for _ in range(2):
        try:
            bench.probes[stage][what]()
            return None
        except StageFailed as failure:
            found = failure
        # The emulator may still give the first event to the process that was just stopped.
        if "Runtime.ExitError" not in str(found):
            break
    return found


def needed_after_all(permissions: Permissions, bench: Bench, stage: str) -> dict[Permission, str]:
    """A stage's permissions that are listed as not provable although a probe needs them, with the
    probe."""
    listed = not_provable(permissions, stage)
    with permissions.without(stage, listed):
        bench.forget(stage)
        suspects = [what for what in bench.probes[stage] if failure_of(permissions, bench, stage, listed[0], what)]
    needed = {}
    # A probe that fails in any case needs something else, which another check reports.
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
    """What any function may do, and what none may, each with an attempt."""
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
    """The result of an attempt, with an exclamation mark if it contradicts the lists."""
    resource = permissions.short(attempt.resource)
    due = is_due(who, f"{attempt.action} {resource}")
    if resource == f"log {who}":
        return "(may)"  # the emulator asks for rights on the log, where AWS asks for rights on its stream
    may = not attempt.is_denied(identity)
    return f"{'may' if may else 'denied'}{'' if may == due else '!'}"


def is_due(who: str, tried: str) -> bool:
    """Whether an identity must be allowed this, by the lists rather than by the roles."""
    if who == "admin":
        return not any(fnmatchcase(tried, denied) for denied in NOT_FOR_ADMINS)
    permitted = proven(who).keys() | unproven(who).keys()
    never = [denied for denials in NEVER.values() for denied in denials]
    return any(fnmatchcase(tried, permission) for permission in permitted) and not any(
        fnmatchcase(tried, denied) for denied in never
    )
