"""AWS's sign-ins for people: whose access key a request carries, and the message if no sign-in
works.

https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .form import one_line_error, run


class Aws:
    """A server that speaks AWS's protocols: it records requests, and gives the configured
    answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.role: dict | None = None
        self.error = "ParameterNotFound"
        aws = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
                aws.asked.append((self.path.partition("?")[0], self.headers["x-amz-sso_bearer_token"]))
                self.answer(200, {"roleCredentials": aws.role})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                aws.asked.append((self.headers["X-Amz-Target"], self.headers["Authorization"]))
                self.answer(400, {"__type": aws.error, "message": "why"})

            def answer(self, status: int, body: dict) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    yield aws
    aws.server.shutdown()


@pytest.fixture
def status(tmp_path: Path, aws: Aws):
    """Runs a command that asks AWS for a parameter with this profile in the configuration, and
    returns its error."""

    def status(config: str = "", **variables: str) -> str:
        file = tmp_path / "config"
        file.write_text(config)
        environment = {
            "HOME": str(tmp_path),
            "AWS_CONFIG_FILE": str(file),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": aws.url,
        }
        return one_line_error(run("status", "--stack", "Firmware", variables=environment | variables))

    return status


def signed_by(aws: Aws, key: str) -> None:
    """Checks that the last request asked for the deployment's parameter, with this access key
    id."""
    what, authorization = aws.asked[-1]
    assert what == "AmazonSSM.GetParameter" and f"Credential={key}/" in authorization, (what, authorization)


SSO = """
[default]
sso_session = company
sso_account_id = 111122223333
sso_role_name = Operator

[sso-session company]
sso_region = eu-central-1
sso_start_url = https://company.awsapps.com/start
"""


def test_a_program_of_the_profile_gives_credentials(aws: Aws, status, tmp_path: Path):
    program = tmp_path / "credentials.sh"
    key = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "secret"}
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(key)}\nEND\n")
    program.chmod(0o700)
    error = status(f"[profile robot]\ncredential_process = {program}\n", AWS_PROFILE="robot")
    assert "no parameter /tufline/Firmware" in error
    signed_by(aws, "AKIDPROCESS")


def test_a_program_that_fails_is_told(aws: Aws, status):
    error = status("[default]\ncredential_process = /bin/false\n")
    assert "no AWS sign-in works" in error and "credential_process by hand" in error, error
    assert not aws.asked


def test_single_sign_on_gives_credentials(aws: Aws, status, tmp_path: Path):
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "a-token", "expiresAt": "2099-01-01T00:00:00Z"}
    (cache / f"{hashlib.sha1(b'company').hexdigest()}.json").write_text(json.dumps(token))
    aws.role = {"accessKeyId": "ASIASSO", "secretAccessKey": "secret", "sessionToken": "session", "expiration": 4070908800000}
    assert "no parameter /tufline/Firmware" in status(SSO)
    assert ("/federation/credentials", "a-token") in aws.asked
    signed_by(aws, "ASIASSO")


def test_a_message_says_how_to_sign_in(aws: Aws, status):
    error = status(SSO)
    assert "no AWS sign-in works" in error and error.endswith("run `aws sso login` for this profile"), error
    error = status("[default]\nlogin_session = arn:aws:iam::111122223333:user/operator\n")
    assert "no AWS sign-in works" in error and error.endswith("run `aws login` for this profile"), error
    error = status()
    assert "no AWS sign-in works" in error and "AWS_PROFILE" in error and "AWS_ACCESS_KEY_ID" in error, error
    assert not aws.asked, "nobody was asked anything"


@pytest.mark.parametrize(
    ("code", "advice"),
    [("ExpiredTokenException", "sign in again"), ("UnrecognizedClientException", "AWS doesn't know this access key")],
)
def test_a_sign_in_that_aws_refuses_is_told(aws: Aws, status, code: str, advice: str):
    aws.error = code
    error = status(AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="secret")
    assert code in error and advice in error, error
    signed_by(aws, "AKID")
