"""`tufline doctor` names what is wrong, and what to do. It changes nothing unless it is asked to
try."""

import contextlib
import functools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cloud_lib import ROOT

from .device import sha256
from .folder import FolderForm
from .form import ATTENTION, DONE, FAILED, json_lines, run
from .polling import until
from .variant import Variant

# Checks that need what only operators may read.
OF_OPERATORS = {"expiry", "waiting"}
# Permissions that the emulator doesn't check (tests/emulator.md, 41).
NOT_DENIED = {"lambda:GetAccountSettings", "cloudwatch:DescribeAlarms"}


class Said:
    """Doctor's findings."""

    def __init__(self, done: subprocess.CompletedProcess) -> None:
        assert done.returncode in (DONE, FAILED), (done.stdout, done.stderr)
        self.code = done.returncode
        (self.report,) = json_lines(done)
        self.checks: list[dict] = self.report["checks"]

    def of(self, state: str) -> list[tuple[str, str]]:
        """The codes of the checks with this result, each with its message."""
        checks = [check for check in self.checks if check["state"] == state]
        assert all(check.get("advice") for check in checks) or state == "ok", "each says what to do"
        return [(check["code"], f"{check['what']}: {check['why']}; {check.get('advice')}") for check in checks]

    @property
    def problems(self) -> list[tuple[str, str]]:
        problems = self.of("problem")
        assert self.report["problems"] == len(problems)
        assert self.code == (FAILED if problems else DONE), (self.code, problems)
        return problems


# On AWS


@pytest.fixture(scope="module")
def variant(deploy: Callable[..., Variant]) -> Variant:
    """A deployment for these tests, whose functions call each other as on AWS (tests/emulator.md,
    39), and whose root expires soon."""
    variant = deploy("Doctor", {"access": "open", "chunks": "true"}, root_expires="20 days")
    for stage in ("hash", "large", "rebuild", "sign", "publish"):
        recursion(variant, stage, "Allow")
    return variant


def recursion(variant: Variant, stage: str, loop: str) -> None:
    name = variant.function(stage)["FunctionName"]
    variant.connect("lambda").put_function_recursion_config(FunctionName=name, RecursiveLoop=loop)


# The alarms that a test raises.
RAISED: set[str] = set()


def calm(variant: Variant) -> None:
    """Resets alarms that other deployments raised: the emulator mixes the metrics of all
    deployments (tests/emulator.md)."""
    client = variant.connect("cloudwatch")
    for alarm in client.describe_alarms(AlarmNamePrefix=f"{variant.stack}-")["MetricAlarms"]:
        if alarm["StateValue"] == "ALARM" and alarm["AlarmName"] not in RAISED:
            client.set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="OK", StateReason="test")


def doctor(variant: Variant, *arguments: str, keys: dict | None = None, **variables: str) -> Said:
    calm(variant)
    keys = keys or variant.admin_keys
    endpoints = variant.endpoints
    environment = {
        "AWS_ACCESS_KEY_ID": keys["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
        "AWS_REGION": endpoints["region"],
        "AWS_ENDPOINT_URL": endpoints["aws"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "TUFLINE_TRUSTED_ROOT": endpoints["trusted_root"],
        # The emulator's host names don't resolve.
        "TUFLINE_METADATA_URL": endpoints["metadata_url"],
        "TUFLINE_TARGETS_URL": endpoints["targets_url"],
        "TUFLINE_PACK_URL": endpoints["pack_url"],
    }
    stack = ["--stack", variant.stack]
    return Said(run("doctor", "--json", *stack, *arguments, variables=environment | variables))


def test_nothing_is_wrong_with_a_healthy_deployment_and_nothing_is_changed(variant: Variant):
    before = (variant.generation(), uploaded(variant))
    said = doctor(variant)
    assert (said.problems, said.of("unchecked")) == ([], [])
    warnings = said.of("warning")
    assert [code for code, _ in warnings] == ["alarms", "expiry"], warnings
    assert "nobody is notified" in warnings[0][1] and "root expires in 20 d" in warnings[1][1], warnings
    assert {check["code"] for check in said.checks} == documented() - {"data", "uploads", "space", "troubles", "trial"}
    assert (variant.generation(), uploaded(variant)) == before


def documented() -> set[str]:
    """The codes in the documentation's table."""
    rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", operations().split("### ")[0].split("## What to look at")[0], re.MULTILINE)
    return {code for row in rows for code in re.findall(r"[a-z-]+", row)}


def operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


def uploaded(variant: Variant) -> int:
    answer = variant.admin_s3.list_object_versions(Bucket=variant.bucket)
    return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))


@contextlib.contextmanager
def mapping_disabled(variant: Variant, stage: str = "rebuild", queue: str = "changes") -> Iterator[str]:
    client, name = variant.connect("lambda"), variant.function(stage)["FunctionName"]
    (mapping,) = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield f"the queue {variant.stack}-{queue}"
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@contextlib.contextmanager
def recursion_ended(variant: Variant) -> Iterator[str]:
    recursion(variant, "large", "Terminate")
    yield f"the function {variant.stack}-large"
    recursion(variant, "large", "Allow")


@contextlib.contextmanager
def function_stopped(variant: Variant, stage: str = "large") -> Iterator[str]:
    client, name = variant.connect("lambda"), variant.function(stage)["FunctionName"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    yield f"the function {name}"
    client.delete_function_concurrency(FunctionName=name)


@contextlib.contextmanager
def schedule_disabled(variant: Variant) -> Iterator[str]:
    client, refresh = variant.connect("scheduler"), variant.function("refresh")["FunctionName"]
    schedules = client.list_schedules()["Schedules"]
    (name,) = [schedule["Name"] for schedule in schedules if schedule["Target"]["Arn"].endswith(f":{refresh}")]
    found = client.get_schedule(Name=name)
    given = {field: found[field] for field in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    client.update_schedule(**given, State="DISABLED")
    yield name
    client.update_schedule(**given, State="ENABLED")


@contextlib.contextmanager
def versioning_suspended(variant: Variant) -> Iterator[str]:
    bucket = variant.endpoints["ledger_bucket"]
    set_versioning = variant.admin_s3.put_bucket_versioning
    set_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    yield f"the bucket {bucket}"
    set_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


@contextlib.contextmanager
def public_access_allowed(variant: Variant) -> Iterator[str]:
    bucket = variant.endpoints["repository_bucket"]
    block = variant.admin_s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    set_block = variant.admin_s3.put_public_access_block
    set_block(Bucket=bucket, PublicAccessBlockConfiguration={**block, "BlockPublicPolicy": False})
    yield "BlockPublicPolicy"
    set_block(Bucket=bucket, PublicAccessBlockConfiguration=block)


@contextlib.contextmanager
def key_disabled(variant: Variant) -> Iterator[str]:
    client, key = variant.connect("kms"), variant.variables()["TUFLINE_KEY_BINS"]
    client.disable_key(KeyId=key)
    yield f"the bins key {key}"
    client.enable_key(KeyId=key)


@contextlib.contextmanager
def key_opened(variant: Variant) -> Iterator[str]:
    client, key = variant.connect("kms"), variant.variables()["TUFLINE_KEY_SNAPSHOT"]
    before = client.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    policy = json.loads(before)
    account = "arn:aws:iam::000000000000:root"
    policy["Statement"].append({"Effect": "Allow", "Principal": {"AWS": account}, "Action": "kms:Si*", "Resource": "*"})
    client.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    yield f"{account} may sign"
    client.put_key_policy(KeyId=key, PolicyName="default", Policy=before)


@contextlib.contextmanager
def dead_letter(variant: Variant, queue: str = "changes") -> Iterator[str]:
    url = variant.queue(queue, dead_letters=True)
    # No stage can read it, so it stays.
    variant.sqs.send_message(QueueUrl=url, MessageBody="no message")
    yield f"the queue {queue}: 1 dead letter"
    variant.sqs.purge_queue(QueueUrl=url)


@contextlib.contextmanager
def alarm_raised(variant: Variant) -> Iterator[str]:
    client, name = variant.connect("cloudwatch"), f"{variant.stack}-publication-lag"
    client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    RAISED.add(name)
    yield "docs/operations.md#alarm-publication-lag"
    RAISED.remove(name)
    client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="test")


@contextlib.contextmanager
def devices_unanswered(variant: Variant) -> Iterator[str]:
    with variant.denied("serve", "s3:*"):
        yield "a device cannot update"


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("triggers", mapping_disabled),
        ("recursion", recursion_ended),
        ("functions", function_stopped),
        ("schedule", schedule_disabled),
        ("versioning", versioning_suspended),
        ("public-access", public_access_allowed),
        ("keys", key_disabled),
        ("key-policies", key_opened),
        ("dead-letters", dead_letter),
        ("alarms", alarm_raised),
        ("devices", devices_unanswered),
        ("triggers", functools.partial(mapping_disabled, stage="chunk", queue="chunk")),
        ("functions", functools.partial(function_stopped, stage="chunk")),
        ("dead-letters", functools.partial(dead_letter, queue="chunk")),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", "chunk"),
)
def test_what_is_broken_is_named_and_nothing_else(variant: Variant, code: str, broken):
    with broken(variant) as named:
        problems = doctor(variant).problems
    assert [found for found, _ in problems] == [code] and named in problems[0][1], problems
    assert doctor(variant).problems == []


def test_a_region_without_the_deployment_is_told(variant: Variant):
    ((code, told),) = doctor(variant, AWS_REGION="eu-west-3").problems
    assert code == "deployment" and f"/tufline/{variant.stack}" in told and "AWS_REGION" in told, told


def test_without_region_or_sign_in_nothing_else_is_tried(variant: Variant):
    ((code, told),) = doctor(variant, AWS_REGION="").problems
    assert code == "region" and "AWS_REGION" in told, told
    nobody = doctor(variant, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    ((code, told),) = nobody.problems
    assert code == "sign-in" and "no AWS sign-in works" in told and "aws sso login" in told, told
    assert [code for code, _ in nobody.of("unchecked")] == ["deployment"]
    stranger = doctor(variant, AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
    assert [code for code, _ in stranger.problems] == ["sign-in"], stranger.checks


def test_each_check_says_which_permission_it_lacks_and_the_documented_ones_are_enough(variant: Variant):
    (policy,) = [json.loads(block) for block in re.findall(r"```json\n(\{\n  \"Version\".*?)```", operations(), re.DOTALL)]
    documented = set(policy["Statement"][0]["Action"])
    reader = variant.new_user("reader", *policy["Statement"])
    said = doctor(variant, keys=reader)
    assert said.problems == []
    assert {code for code, _ in said.of("unchecked")} == OF_OPERATORS, said.of("unchecked")

    finder = variant.new_user("finder", {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"})
    said = doctor(variant, keys=finder)
    assert said.problems == []
    lacking = {needed for _, told in said.of("unchecked") for needed in re.findall(r"permission ([a-z0-9]+:[A-Za-z]+)", told)}
    # A check makes no request after a denied one.
    assert documented - lacking == {"ssm:GetParameter", "kms:GetKeyPolicy", "kms:ListGrants"} | NOT_DENIED, lacking
    said = doctor(variant, keys=variant.new_user("nobody"))
    assert said.problems == [] and "ssm:GetParameter" in said.of("unchecked")[0][1], said.checks


@contextlib.contextmanager
def without_policy(variant: Variant) -> Iterator[str]:
    """Removes the policy of the repository bucket, which denies deletions to everybody."""
    bucket = variant.endpoints["repository_bucket"]
    policy = variant.admin_s3.get_bucket_policy(Bucket=bucket)["Policy"]
    variant.admin_s3.delete_bucket_policy(Bucket=bucket)
    yield bucket
    variant.admin_s3.put_bucket_policy(Bucket=bucket, Policy=policy)


@contextlib.contextmanager
def stranger_root(variant: Variant) -> Iterator[str]:
    """Puts an invalid file in the next root's place."""
    key = "metadata/2.root.json"
    with without_policy(variant) as bucket:
        variant.admin_s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
        yield f"{key} is no root"
        variant.admin_s3.delete_object(Bucket=bucket, Key=key)


def test_a_deployment_tells_what_devices_need_and_lack(variant: Variant):
    variant.put("lacked", b"lacked")
    variant.wait_published({"lacked": sha256(b"lacked")})
    keys = [f"metadata/{variant.published_generation()}.snapshot.json", f"blobs/{sha256(b'lacked')}"]
    with without_policy(variant) as bucket:
        for key in keys:
            kept = variant.admin_s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            for damaged in (None, kept[:-1], kept[:-1] + b"x"):
                if damaged is None:
                    variant.admin_s3.delete_object(Bucket=bucket, Key=key)
                else:
                    variant.admin_s3.put_object(Bucket=bucket, Key=key, Body=damaged, ChecksumAlgorithm="SHA256")
                problems = doctor(variant).problems
                assert [told for code, told in problems if code == "waiting" and f"{key} is missing or damaged" in told], problems
                status = variant.tufline("status", operator=True)
                assert status.returncode == ATTENTION and f"damaged     {key}: " in status.stdout, (status.stdout, status.stderr)
            variant.admin_s3.put_object(Bucket=bucket, Key=key, Body=kept, ChecksumAlgorithm="SHA256")
    until("mended", lambda: doctor(variant).problems == [], 60)


def test_a_deployment_tells_strangers_roots_and_held_removals_as_status_does(variant: Variant):
    with stranger_root(variant) as named:
        assert [told for code, told in doctor(variant).problems if code == "waiting" and named in told]
    names = [f"doctor/{number}.bin" for number in range(30)]
    for name in names:
        variant.put(name, name.encode())
    variant.wait_published({name: sha256(name.encode()) for name in names})
    for name in names:
        variant.remove(name)
    # They come in batches, and the first ones may be small.
    until("held", lambda: [told for code, told in doctor(variant).problems if code == "waiting" and "held" in told], 60)
    for name in names:
        variant.put(name, name.encode())
    until("back", lambda: doctor(variant).problems == [], 60)


def test_an_operator_needs_nothing_else(variant: Variant):
    operator = variant.new_user("operator")
    policy = f"arn:aws:iam::000000000000:policy/{variant.stack}-operator-{variant.endpoints['region']}"
    variant.connect("iam").attach_user_policy(UserName=operator["user"], PolicyArn=policy)
    said = doctor(variant, keys=operator)
    assert (said.problems, said.of("unchecked")) == ([], [])


def test_one_artifact_passes_all_stages_and_is_removed(variant: Variant):
    before = variant.listed()
    said = doctor(variant, "--try")
    if "trial" in dict(said.problems):
        # A function whose run fails on a busy machine gets its message again, but later than a
        # trial waits.
        said = doctor(variant, "--try")
    # Another test's measurements may raise an alarm again meanwhile.
    assert [problem for problem in said.problems if problem[0] != "alarms"] == []
    (trial,) = [check for check in said.checks if check["code"] == "trial"]
    assert trial["what"].startswith("tufline-doctor/") and "devices saw it after" in trial["why"], trial
    until("the trials are gone", lambda: variant.listed() == before, 120)
    kinds = variant.admin_s3.list_object_versions(Bucket=variant.bucket, Prefix=variant.key(trial["what"]))
    assert len(kinds["Versions"]) == len(kinds["DeleteMarkers"]) == 1


# In a folder


def in_folder(folder: FolderForm, *arguments: str) -> Said:
    return Said(run("doctor", "--json", *arguments, *folder.connection(operator=True)))


def test_nothing_is_wrong_with_a_folder_that_is_served(folder: FolderForm):
    said = in_folder(folder)
    assert (said.problems, said.of("unchecked")) == ([], [])
    codes = [check["code"] for check in said.checks]
    assert codes == ["data", "space", "uploads", "devices", "clock", "troubles", "waiting", "expiry"]
    assert folder.listed() == set()
    before = sorted(folder.uploads.iterdir())
    said = in_folder(folder, "--try")
    assert said.problems == [] and said.checks[-1]["code"] == "trial"
    assert folder.listed() == set() and sorted(folder.uploads.iterdir()) == before


def test_what_is_broken_in_a_folder_is_named(folder: FolderForm, tmp_path: Path):
    stranger = folder.data / "repository" / "metadata" / "2.root.json"
    stranger.write_bytes((folder.data / "root.json").read_bytes())
    assert [told for code, told in in_folder(folder).problems if code == "waiting" and "metadata/2.root.json" in told]
    stranger.unlink()
    names = [f"{number}.bin" for number in range(30)]
    for name in names:
        folder.put(name, name.encode())
    folder.wait_published({name: sha256(name.encode()) for name in names})
    for name in names:
        (folder.uploads / name).unlink()
    until("held", lambda: [told for code, told in in_folder(folder).problems if code == "waiting" and "30 removals held" in told])
    for name in names:
        folder.put(name, name.encode())
    hidden = tmp_path / "hidden"
    until("back", lambda: not in_folder(folder).problems)
    folder.uploads.rename(hidden)
    codes = {code for code, _ in in_folder(folder).problems}
    hidden.rename(folder.uploads)
    assert "uploads" in codes and "devices" not in codes, codes
    until("mended", lambda: not in_folder(folder).problems)
    folder.kill()
    said = in_folder(folder)
    assert [code for code, _ in said.problems] == ["devices", "waiting"], said.problems
    assert all("start `tufline local`" in told for _, told in said.problems), said.problems
    done = run("doctor", cwd=folder.data.parent, variables={"TUFLINE_ENDPOINTS": "nowhere.json"})
    assert done.returncode == FAILED and "nowhere.json" in done.stdout and done.stderr == "tufline: 1 problem, 0 warnings, 0 not checked\n", done
