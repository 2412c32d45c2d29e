"""The users of a test deployment: uploaders, such as build systems, and an administrator."""

import json
import subprocess
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from . import ROOT, Refusal
from .emulator import REGION, ROOT_KEY

Keys = dict[str, str]


def make(endpoint: str, resources: dict[str, str], stack: str) -> tuple[Keys, Keys]:
    """Makes both users of `stack`, checks that their rights are enforced, and returns their
    keys."""
    uploader = uploading(endpoint, resources, f"{stack}-uploader")
    admin = _user(endpoint, f"{stack}-admin", {"Effect": "Allow", "Action": ["*"], "Resource": "*"})
    _check(endpoint, resources, uploader)
    return uploader, admin


def uploading(endpoint: str, resources: dict[str, str], name: str, *options: str) -> Keys:
    """A user with the rights of `grantUpload`, with these options of `cdk/bin/upload-policy.ts`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as parameter:
        json.dump(resources, parameter)
        parameter.flush()
        command = ["node", "--import", "tsx", "bin/upload-policy.ts", parameter.name, *options]
        done = subprocess.run(command, cwd=ROOT / "cdk", capture_output=True, text=True)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip())
    return _user(endpoint, name, *json.loads(done.stdout)["Statement"])


def client(service: str, endpoint: str, keys: Keys):
    """A client of `service` with the keys `keys`."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def _user(endpoint: str, name: str, *statements: dict) -> Keys:
    iam = client("iam", endpoint, {"access_key_id": ROOT_KEY["AWS_ACCESS_KEY_ID"], "secret_access_key": "test"})
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": statements}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def _check(endpoint: str, resources: dict[str, str], uploader: Keys) -> None:
    """Checks that the emulator enforces IAM: without that, the tests would prove nothing."""
    s3 = client("s3", endpoint, uploader)
    s3.list_objects_v2(Bucket=resources["TUFLINE_UPLOADS_BUCKET"])
    try:
        s3.put_object(Bucket=resources["TUFLINE_REPOSITORY_BUCKET"], Key="blobs/probe", Body=b"")
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDenied":
            return
        raise
    raise Refusal("the emulator doesn't enforce IAM: the uploader could write to the repository bucket")
