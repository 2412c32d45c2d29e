"""A stand-in for AWS IoT Core's credentials provider, and an API that accepts its keys, on the
loopback address.

The provider speaks as
<https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html> says. It is not
AWS IoT Core: the emulator has none, and AWS's own answers were not tried. botocore judges the
signatures.
"""

import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .tls_servers import Authority, Handler, Server

REGION, ALIAS = "eu-central-1", "TuflineDevices"

# How long API Gateway accepts a signature, and how far a device's clock may be ahead.
VALID = timedelta(minutes=5)
AMZ_DATE = "%Y%m%dT%H%M%SZ"


class GuardedHandler(Handler):
    """Checks each request before it answers, and records its header fields."""

    def do_GET(self) -> None:
        self.server.fields.append({name.lower(): value for name, value in self.headers.items()})
        if (refusal := self.server.refusal(self)) is None:
            return super().do_GET()
        status, why = refusal
        self.server.refused.append(why)
        return self.answer(status, {"message": why})

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp or self.server.now().timestamp())


class GuardedServer(Server):
    """A server that accepts the requests that `refusal` accepts; here, all of them. `ahead` is how
    far its clock is ahead."""

    def __init__(self, folder: Path, authority: Authority | None = None, handler: type[GuardedHandler] = GuardedHandler, strict: bool = False) -> None:
        super().__init__(folder, "localhost", authority, strict, handler)
        self.fields: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def refusal(self, request: GuardedHandler) -> tuple[int, str] | None:
        return None


class TokenApi(GuardedServer):
    """Accepts requests with `token`."""

    token = ""

    def refusal(self, request: GuardedHandler) -> tuple[int, str] | None:
        return None if request.headers["Authorization"] == f"Bearer {self.token}" else (401, "Unauthorized")


class SignedApi(GuardedServer):
    """Accepts requests that are signed with one of `keys`, as botocore would sign them."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        super().__init__(folder, authority)
        self.keys: dict[str, Credentials] = {}

    def new_keys(self) -> Credentials:
        keys = Credentials(f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), secrets.token_urlsafe(60))
        self.keys[keys.access_key] = keys
        return keys

    def refusal(self, request: GuardedHandler) -> tuple[int, str] | None:
        why = self.why_not(request)
        return why and (403, why)

    def why_not(self, request: GuardedHandler) -> str | None:
        parts = r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})"
        if (authorization := re.fullmatch(parts, request.headers["Authorization"] or "")) is None:
            return "Missing Authentication Token"
        name, day, region, service, signed, signature = authorization.groups()
        at = request.headers["X-Amz-Date"]
        if (keys := self.keys.get(name)) is None or keys.token != request.headers["X-Amz-Security-Token"]:
            return "The security token included in the request is invalid"
        if (region, service, day) != (REGION, "execute-api", at[:8]):
            return "Credential should be scoped to a valid region, service and date"
        if not {"host", "x-amz-date", "x-amz-security-token"} <= set(signed.split(";")):
            return "not all that must be is signed"
        if abs(datetime.strptime(at, AMZ_DATE).replace(tzinfo=UTC) - self.now()) > VALID:
            return "Signature expired"
        url = f"{urlsplit(self.url).scheme}://{request.headers['Host']}{request.path}"
        due = signature_of(url, keys, at, {name: request.headers[name] for name in signed.split(";")})
        return None if signature == due else "The request signature we calculated does not match the signature you provided"


def signature_of(url: str, keys: Credentials, at: str, fields: dict[str, str]) -> str:
    """botocore's signature of a GET."""
    request = AWSRequest("GET", url, headers=fields)
    request.context["timestamp"] = at
    signer = SigV4Auth(keys, "execute-api", REGION)
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


class ProviderHandler(GuardedHandler):
    def do_GET(self) -> None:
        subject = dict(field for (field,) in self.connection.getpeercert()["subject"])
        provider = self.server
        provider.asked.append((self.path, subject["commonName"], self.headers["x-amzn-iot-thingname"]))
        if self.path != f"/role-aliases/{ALIAS}/credentials":
            return self.answer(404, {"message": "Role alias does not exist"})
        # "If it doesn't match, a 403 error is returned."
        if self.headers["x-amzn-iot-thingname"] not in (None, provider.thing):
            return self.answer(403, {"message": "Invalid thing name passed"})
        keys = provider.api.new_keys()
        if provider.gives_wrong_secrets:
            keys = Credentials(keys.access_key, "wrong", keys.token)
        expiration = (self.server.now() + provider.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        names = {"accessKeyId": keys.access_key, "secretAccessKey": keys.secret_key, "sessionToken": keys.token, "expiration": expiration}
        provider.given.append(keys)
        return self.answer(200, {"credentials": names})


class CredentialsProvider(GuardedServer):
    """Gives keys for an API to clients with a certificate of the authority: those of the thing
    `thing`."""

    def __init__(self, folder: Path, authority: Authority, api: SignedApi) -> None:
        super().__init__(folder, authority, ProviderHandler, strict=True)
        self.api = api
        self.thing = "gateway-1"
        self.lifetime = timedelta(hours=1)
        self.gives_wrong_secrets = False
        self.given: list[Credentials] = []
