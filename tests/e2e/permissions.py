"""The permissions of a deployment's functions: read from their roles and from the keys' policies,
and removed in place."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .cloud import CloudForm

# In the order of the pipeline.
STAGES = ["hash", "large", "rebuild", "sign", "publish", "refresh", "serve", "pack", "chunk"]
# The pipeline's queues, each with the stage that consumes it.
PIPELINE = {"hash": "uploads", "large": "large", "rebuild": "changes", "sign": "sign", "publish": "publish"}
# Chunk is no stage of the pipeline: it doesn't return failed messages early, and refresh doesn't
# bring its dead letters back.
CONSUMES = {**PIPELINE, "chunk": "chunk"}
ONLINE_KEYS = ["targets", "bins", "snapshot", "timestamp"]


class Permission(NamedTuple):
    """One action on one resource, with the ARN as in the policy."""

    action: str
    resource: str


@dataclass
class Document:
    """A policy that allows a role something, and how to replace that policy."""

    statements: list[dict]
    replace: Callable[[list[dict]], None]
    # The key, if this is a key's policy; `None` for a policy of the role.
    key: str | None = None


class Permissions:
    """The permissions of all functions of a deployment."""

    def __init__(self, cloud: CloudForm) -> None:
        self._iam, self._kms = cloud.connect("iam"), cloud.connect("kms")
        self.functions = {stage: cloud.function(stage) for stage in STAGES}
        self.variables = self.functions["sign"]["Environment"]["Variables"]
        self._names = self._resource_names()

    def _resource_names(self) -> dict[str, str]:
        """The name of each resource in the tables, by its ARN."""
        _, partition, _, region, account, *_ = self.functions["hash"]["FunctionArn"].split(":")
        variables, at_home = self.variables, f"{region}:{account}"
        names = {variables[f"TUFLINE_KEY_{name.upper()}"]: f"key {name}" for name in ONLINE_KEYS}
        for bucket in ("uploads", "repository", "ledger"):
            names[f"arn:{partition}:s3:::{variables[f'TUFLINE_{bucket.upper()}_BUCKET']}"] = bucket
        for queue in CONSUMES.values():
            for kind, suffix in (("QUEUE", ""), ("DLQ", "-dlq")):
                queue_name = variables[f"TUFLINE_{kind}_{queue.upper()}"].rpartition("/")[2]
                names[f"arn:{partition}:sqs:{at_home}:{queue_name}"] = f"queue {queue}{suffix}"
        for stage, function in self.functions.items():
            names[f"arn:{partition}:logs:{at_home}:log-group:{function['LoggingConfig']['LogGroup']}"] = f"log {stage}"
        names[f"arn:{partition}:events:{at_home}:event-bus/{variables['TUFLINE_EVENT_BUS']}"] = "bus"
        return names

    def short(self, resource: str) -> str:
        """The name of a resource in the tables: `ledger/drafts/*`, `queue changes`, `key
        targets`."""
        for arn, name in self._names.items():
            rest = resource.removeprefix(arn)
            if not rest or rest.startswith(":"):  # what follows a log's colon are its streams
                return name
            if rest.startswith("/"):
                return f"{name}{rest}"
        return resource

    def arn(self, name: str) -> str:
        """The ARN of the resource that :meth:`short` names so."""
        (found,) = [arn for arn, known in self._names.items() if known == name]
        return found

    def of(self, stage: str) -> list[Permission]:
        """All permissions of a stage's function, in the order of its policies."""
        role = self.functions[stage]["Role"]
        found: list[Permission] = []
        for document in self._documents(stage):
            for statement in document.statements:
                found += permissions(statement) if document.key is None else key_permissions(statement, document.key, role)
        return list(dict.fromkeys(found))

    @contextlib.contextmanager
    def without(self, stage: str, gone: Iterable[Permission]) -> Iterator[None]:
        """Removes exactly these permissions from a stage's function during the block."""
        gone, role = set(gone), self.functions[stage]["Role"]
        with contextlib.ExitStack() as restore:
            for document in self._documents(stage):
                left: list[dict] = []
                for statement in document.statements:
                    key = document.key
                    left += reduced(statement, gone) if key is None else key_reduced(statement, key, role, gone)
                if left != document.statements:
                    restore.callback(document.replace, document.statements)
                    document.replace(left)
            yield

    def _documents(self, stage: str) -> list[Document]:
        role = self.functions[stage]["Role"].rpartition("/")[2]
        names = self._iam.list_role_policies(RoleName=role)["PolicyNames"]
        attached = self._iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return [
            *(self._inline(role, name) for name in names),
            *(self._managed(policy["PolicyArn"]) for policy in attached),
            *(self._key(self.variables[f"TUFLINE_KEY_{name.upper()}"]) for name in ONLINE_KEYS),
        ]

    def _inline(self, role: str, name: str) -> Document:
        policy = {"RoleName": role, "PolicyName": name}

        def replace(statements: list[dict]) -> None:
            if statements:
                self._iam.put_role_policy(**policy, PolicyDocument=text(statements))
            else:  # no policy may be empty
                self._iam.delete_role_policy(**policy)

        return Document(self._iam.get_role_policy(**policy)["PolicyDocument"]["Statement"], replace)

    def _managed(self, arn: str) -> Document:
        """Reads a managed policy. Tufline's roles have none; if one is attached, its permissions
        are seen here, but can't be removed."""
        version = self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = self._iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

        def replace(_: list[dict]) -> None:
            raise AssertionError(f"{arn} is attached: only inline policies are taken from")

        return Document(document["Statement"], replace)

    def _key(self, key: str) -> Document:
        policy = {"KeyId": key, "PolicyName": "default"}

        def replace(statements: list[dict]) -> None:
            self._kms.put_key_policy(**policy, Policy=text(statements))

        return Document(json.loads(self._kms.get_key_policy(**policy)["Policy"])["Statement"], replace, key)


def text(statements: list[dict]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def listed(value: str | list[str]) -> list[str]:
    """A list, which a policy may write without brackets if it has one entry."""
    return [value] if isinstance(value, str) else value


def permissions(statement: dict) -> list[Permission]:
    """The permissions that a statement of a role's policy allows."""
    if statement["Effect"] != "Allow":
        return []
    actions, resources = listed(statement["Action"]), listed(statement["Resource"])
    return [Permission(action, resource) for action in actions for resource in resources]


def principals(statement: dict) -> list[str]:
    principal = statement.get("Principal", {})
    return listed(principal if isinstance(principal, str) else principal.get("AWS", []))


def key_permissions(statement: dict, key: str, role: str) -> list[Permission]:
    """The permissions that a statement in the policy of `key` gives to `role` by its name."""
    if statement["Effect"] != "Allow" or role not in principals(statement):
        return []
    return [Permission(action, key) for action in listed(statement["Action"])]


def reduced(statement: dict, gone: set[Permission]) -> list[dict]:
    """A statement of a role's policy without these permissions."""
    if not gone.intersection(permissions(statement)):
        return [statement]
    left = {
        action: [resource for resource in listed(statement["Resource"]) if Permission(action, resource) not in gone]
        for action in listed(statement["Action"])
    }
    return [{**unnamed(statement), "Action": action, "Resource": kept} for action, kept in left.items() if kept]


def key_reduced(statement: dict, key: str, role: str, gone: set[Permission]) -> list[dict]:
    """A statement of a key's policy without those of its permissions for `role` that are in
    `gone`."""
    if not gone.intersection(key_permissions(statement, key, role)):
        return [statement]
    left = {
        action: [name for name in principals(statement) if name != role or Permission(action, key) not in gone]
        for action in listed(statement["Action"])
    }
    return [{**unnamed(statement), "Action": action, "Principal": {"AWS": kept}} for action, kept in left.items() if kept]


def unnamed(statement: dict) -> dict:
    """The statement without its `Sid`, since only one of its parts could keep it."""
    return {field: value for field, value in statement.items() if field != "Sid"}
