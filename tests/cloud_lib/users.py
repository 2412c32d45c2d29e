"""The two users of a test deployment: an uploader, as a build system would be, and an administrator."""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from . import Refusal
from .emulator import REGION, ROOT_KEY

Keys = dict[str, str]


def make(endpoint: str, resources: dict[str, str], stack: str) -> tuple[Keys, Keys]:
    """Makes both users of `stack`, checks that their rights are enforced, and returns their keys."""
    uploads = f"arn:aws:s3:::{resources['TUFLINE_UPLOADS_BUCKET']}"
    targets = f"{uploads}/{resources['TUFLINE_UPLOADS_PREFIX']}*"
    receipts = f"arn:aws:s3:::{resources['TUFLINE_LEDGER_BUCKET']}/rejected/*"
    iam = client("iam", endpoint, {"access_key_id": ROOT_KEY["AWS_ACCESS_KEY_ID"], "secret_access_key": "test"})
    uploader = _user(
        iam,
        f"{stack}-uploader",
        [
            _allow(
                [
                    "s3:PutObject",
                    "s3:AbortMultipartUpload",
                    "s3:ListMultipartUploadParts",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:GetObjectVersion",
                ],
                targets,
            ),
            _allow(["s3:ListBucket", "s3:ListBucketVersions"], uploads),
            # `tufline wait` reads there why an upload was refused.
            _allow(["s3:GetObject"], receipts),
        ],
    )
    admin = _user(iam, f"{stack}-admin", [_allow(["*"], "*")])
    _check(endpoint, resources, uploader)
    return uploader, admin


def client(service: str, endpoint: str, keys: Keys):
    """A client of `service` that acts with `keys`."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def _allow(actions: list[str], resource: str) -> dict:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def _user(iam, name: str, statements: list[dict]) -> Keys:
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": statements}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def _check(endpoint: str, resources: dict[str, str], uploader: Keys) -> None:
    """Tests that run without enforcement would prove nothing, so this notices if there is none."""
    s3 = client("s3", endpoint, uploader)
    s3.list_objects_v2(Bucket=resources["TUFLINE_UPLOADS_BUCKET"])
    try:
        s3.put_object(Bucket=resources["TUFLINE_REPOSITORY_BUCKET"], Key="blobs/probe", Body=b"")
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDenied":
            return
        raise
    raise Refusal("the emulator doesn't enforce IAM: the uploader could write to the repository bucket")
