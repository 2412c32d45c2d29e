"""Who may read as a device, in each access mode that the emulator runs. Prints a table."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from cloud_lib import emulator
from cryptography.hazmat.primitives.asymmetric import rsa

from .authorized import signed, with_token
from .cloud import CloudForm
from .device import sha256
from .device_program import NOWHERE, DeviceProgram
from .form import DONE
from .http_client import ask
from .tokens import Issuer
from .tuf_js import TufJsDevice
from .variant import Variant

pytestmark = pytest.mark.emulator

AUDIENCE = "devices"

# Larger than an inline answer, so that a device must follow a link.
LARGE = os.urandom(300 << 10)


def test_with_open_access_everybody_is_let_in(cloud: CloudForm):
    answer = ask(f"{cloud.endpoints['metadata_url']}timestamp.json")
    table("open", {"nobody in particular": (answer.status, 200)})


def test_a_variant_with_iam_access_stream_hashing_and_a_key_of_its_own(cloud: CloudForm, deploy):
    key = cloud.connect("kms").create_key(Description="for the buckets")["KeyMetadata"]["Arn"]
    context = {"access": "iam", "hashing": "stream", "encryptionKey": key}
    variant: Variant = deploy("Fleet", context)
    api = variant.endpoints["metadata_url"].split("/execute-api/")[1].split("/")[0]
    may = f"arn:aws:execute-api:{emulator.REGION}:{emulator.ACCOUNT}:{api}/$default/"
    files = [f"{may}{method}/{tree}/*" for method in ("GET", "HEAD") for tree in ("metadata", "targets")]
    device = user(cloud, "device", [*files, f"{may}GET/pack"])
    stranger = user(cloud, "stranger", [])
    variant.fields = signed(device, emulator.REGION)
    url = f"{variant.endpoints['metadata_url']}timestamp.json"

    def status(credentials: Credentials) -> int:
        return variant.answer(signed(credentials, emulator.REGION)(url))

    table(
        "iam",
        {
            "no signature": (variant.answer({}), 403),
            "a signature by a wrong secret": (status(Credentials(device.access_key, "wrong")), 403),
            "a signature by an unknown key": (status(Credentials("AKIAUNKNOWNUNKNOWN00", "wrong")), 403),
            "a signature for another URL": (variant.answer(variant.fields(f"{url}x")), 403),
            "an identity without the permission": (status(stranger), 403),
            "an identity with the permission": (status(device), 200),
        },
    )
    publishes(variant)
    pack = f"{variant.endpoints['pack_url']}?have=1.root"
    answer = ask(pack, headers=variant.fields(pack))
    assert (answer.status, answer.header("cache-control")) == (200, "no-store"), "nobody keeps for others what not all may read"
    table("iam, packs", {"no signature": (ask(pack).status, 403), "a stranger": (ask(pack, headers=signed(stranger, emulator.REGION)(pack)).status, 403)})

    # `tufline-device`, by names and by packs, with the keys in a file as AWS's tools write it.
    points, out = variant.endpoints, variant.scratch / "large.bin"
    files = {name: variant.scratch / f"{name}.json" for name in ("device", "stranger", "wrong")}
    files["device"].write_text(process_credentials(device))
    files["stranger"].write_text(process_credentials(stranger))
    files["wrong"].write_text(process_credentials(Credentials(device.access_key, "wrong")))

    def program(who: str, more: str = "", metadata_url: str = points["metadata_url"], targets_url: str = points["targets_url"]) -> DeviceProgram:
        # The emulator's host name contains no region.
        lines = f"identity.keys = '{files[who]}'\nregion = '{emulator.REGION}'\ntries = 1\n{more}"
        return DeviceProgram(variant.scratch / f"program-{who}-{len(more)}", Path(points["trusted_root"]), metadata_url, targets_url, lines)

    program("device").fetch("large.bin", out)
    assert out.read_bytes() == LARGE
    packed = program("device", f"pack-url = '{points['pack_url']}'", NOWHERE, NOWHERE)
    assert packed.answer("check", "first.bin")["targets"][0]["digest"] == sha256(b"two")
    for who in ("stranger", "wrong"):
        told = program(who).failure("refresh")
        assert told["kind"] == "network" and told["error"].endswith("HTTP 403"), told

    # Devices with tough: the command signs with the credentials that it gets.
    variables = {"TUFLINE_ACCESS": "iam"}
    assert variant.tufline("wait", "first.bin", operator=True, variables=variables).returncode == DONE

    function = variant.function("hash")
    assert function["FunctionName"].startswith("Fleet-")
    assert json.loads(function["Environment"]["Variables"]["TUFLINE_CONFIG"])["hashing"] == "stream"
    # The emulator doesn't keep the encryption of a template's buckets; cdk/test checks that the key
    # is in the template.


def test_with_jwt_access_who_has_a_token_is_let_in(deploy):
    with Issuer() as issuer:
        context = {"access": "jwt", "jwtIssuer": issuer.url, "jwtAudience": AUDIENCE}
        variant: Variant = deploy("Tokens", context)
        variant.fields = with_token(issuer.token(AUDIENCE))

        def status(token: str) -> int:
            return variant.answer({"Authorization": f"Bearer {token}"})

        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        table(
            "jwt",
            {
                "no token": (variant.answer({}), 401),
                "no token at all": (status("x"), 401),
                "an expired token": (status(issuer.token(AUDIENCE, seconds=-60)), 401),
                "a token of another issuer": (status(issuer.token(AUDIENCE, issuer="https://example.org")), 401),
                "a token for another audience": (status(issuer.token("browsers")), 401),
                "a token signed by another key": (status(issuer.token(AUDIENCE, key=other)), 401),
                "a token without a signature": (status(issuer.unsigned_token(AUDIENCE)), 401),
                "a good token": (status(issuer.token(AUDIENCE)), 200),
            },
        )
        publishes(variant)

        headers = variant.fields("")
        with_tuf_js = TufJsDevice(variant.endpoints, Path(tempfile.mkdtemp(dir=variant.scratch)), headers)
        assert with_tuf_js.download_bytes("large.bin") == LARGE
        token = variant.scratch / "token"
        token.write_text(issuer.token(AUDIENCE))
        points = variant.endpoints
        program = DeviceProgram(
            variant.scratch / "program", Path(points["trusted_root"]), points["metadata_url"], points["targets_url"], f"identity.token = '{token}'"
        )
        program.fetch("large.bin", variant.scratch / "large.bin")
        assert (variant.scratch / "large.bin").read_bytes() == LARGE
        # And a device that can ask for nothing by name.
        lines = f"pack-url = '{points['pack_url']}'\ntries = 1\nidentity.token = '{token}'"
        packs = DeviceProgram(variant.scratch / "packs", Path(points["trusted_root"]), NOWHERE, NOWHERE, lines)
        assert packs.answer("check", "first.bin")["targets"][0]["digest"] == sha256(b"two")
        answer = ask(f"{points['pack_url']}?have=1.root", headers=headers)
        assert (answer.status, answer.header("cache-control")) == (200, "no-store")
        assert ask(f"{points['pack_url']}?have=1.root").status == 401
        variables = {"TUFLINE_ACCESS": "jwt", "TUFLINE_DEVICE_TOKEN": issuer.token(AUDIENCE)}
        assert variant.tufline("wait", "first.bin", variables=variables).returncode == DONE
        refused = variant.tufline("wait", "first.bin", variables={"TUFLINE_ACCESS": "jwt"})
        assert "TUFLINE_DEVICE_TOKEN" in refused.stderr


def process_credentials(keys: Credentials) -> str:
    """Credentials in the format of a credential process."""
    return json.dumps({"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key})


def publishes(variant: Variant) -> None:
    """Checks that a new, an overwritten, a large and a removed artifact reach a device."""
    variant.put("first.bin", b"one")
    variant.put("large.bin", LARGE)
    variant.put("gone.bin", b"x")
    variant.wait_published({"first.bin": sha256(b"one"), "large.bin": sha256(LARGE), "gone.bin": sha256(b"x")})
    variant.put("first.bin", b"two")
    variant.remove("gone.bin")
    variant.wait_published({"first.bin": sha256(b"two"), "gone.bin": None})
    assert variant.device().download_bytes("first.bin") == b"two"
    assert variant.device().download_bytes("large.bin") == LARGE


def user(cloud: CloudForm, name: str, resources: list[str]) -> Credentials:
    """A new IAM user who may invoke these resources."""
    statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resources}
    keys = cloud.new_user(name, *([statement] if resources else []))
    return Credentials(keys["access_key_id"], keys["secret_access_key"])


def table(mode: str, rows: dict[str, tuple[int, int]]) -> None:
    """Prints who got which answer, and checks that it is the right one."""
    print(f"\naccess mode {mode}")
    for who, (status, due) in rows.items():
        print(f"  {who:36} {status}{'' if status == due else f', expected {due}'}")
    assert all(status == due for status, due in rows.values())
