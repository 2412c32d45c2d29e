"""How `tufline-device` authenticates itself: by signatures with keys from AWS IoT Core or from a
file, and by tokens from a file or a command.

Servers on the loopback address check the credentials; botocore judges the signatures (`iot.py`).
`test_access.py` has API Gateway's verdict.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from botocore.credentials import Credentials
from cryptography.x509.oid import ExtendedKeyUsageOID

from .authorized import signed
from .device import sha256
from .device_program import DeviceProgram
from .device_run import RunningDevice
from .foreign import ForeignRepository
from .iot import ALIAS, REGION, CredentialsProvider, GuardedServer, SignedApi, TokenApi
from .polling import until
from .tls_servers import Authority

# A name whose characters are escaped in a path: the device must sign the path as it sends it.
NAME, DATA = "gateway/firm~ware+1@2=3,4.bin", b"firmware" * 1000
CREDENTIALS = f"/role-aliases/{ALIAS}/credentials"


class World:
    """An API that accepts signatures, the provider of keys, and another server to which the API may
    redirect."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out.bin"
        self.repository = ForeignRepository(folder / "repository")
        self.repository.publish({NAME: DATA})
        self.authority = Authority(folder / "authority")
        self.certificate, self.key = self.authority.make("device", ExtendedKeyUsageOID.CLIENT_AUTH)
        self.api = SignedApi(self.repository.folder, self.authority)
        self.provider = CredentialsProvider(folder, self.authority, self.api)
        self.other = GuardedServer(self.repository.folder, self.authority)

    def device(self, identity: str, api: GuardedServer | None = None, more: str = "") -> DeviceProgram:
        url = (api or self.api).url
        settings = [f"ca = '{self.authority.certificate}'", "tries = 2", f"region = '{REGION}'", f"identity.{identity}", more]
        return DeviceProgram(self.folder / "device", self.repository.metadata / "1.root.json", f"{url}metadata", settings="\n".join(settings))

    def with_iot(self, thing: str = "gateway-1", alias: str = ALIAS, more: str = "") -> DeviceProgram:
        return self.device(self.iot(thing, alias), more=more)

    def iot(self, thing: str = "gateway-1", alias: str = ALIAS) -> str:
        endpoint = f"localhost:{self.provider.server_port}"
        files = f"certificate = '{self.certificate}', key = '{self.key}'"
        return f"iot = {{ endpoint = '{endpoint}', role-alias = '{alias}', thing = '{thing}', {files} }}"

    def running(self) -> RunningDevice:
        """A device that checks each second, with keys from AWS IoT."""
        settings = "\n".join([f"ca = '{self.authority.certificate}'", f"region = '{REGION}'", f"identity.{self.iot()}"])
        root, url = self.repository.metadata / "1.root.json", f"{self.api.url}metadata"
        return RunningDevice(self.folder / "running", root, url, run="every = 1\njitter = 1", settings=settings, name=NAME)

    def checks(self) -> int:
        return sum(asked.path.endswith("/timestamp.json") for asked in self.api.asked)

    def with_keys(self, keys: Credentials, **more: str) -> DeviceProgram:
        """With keys in the format of a credential process."""
        names = {"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key, "SessionToken": keys.token, **more}
        file = self.folder / "keys.json"
        file.write_text(json.dumps(names))
        return self.device(f"keys = '{file}'")

    def fetch(self, device: DeviceProgram) -> None:
        device.fetch(NAME, self.out)
        assert self.out.read_bytes() == DATA

    def failure(self, device: DeviceProgram) -> tuple[str, str]:
        """The failure's kind and line; checks that the line has no secret."""
        told = device.failure("fetch", NAME, "--out", self.out)
        assert not self.out.exists()
        for keys in self.provider.given:
            assert keys.secret_key not in str(told) and keys.token not in str(told)
        return told["kind"], told["error"]

    @property
    def target(self) -> str:
        """The path of the target in requests."""
        [path] = {asked.path for asked in self.api.asked if asked.path.startswith("/targets/")}
        return path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.api, world.provider, world.other:
        yield world


def test_the_judge_accepts_botocores_signatures_only(world: World):
    """The control for the following tests."""
    keys, url = world.api.new_keys(), f"{world.api.url}metadata/timestamp.json"
    http = urllib3.PoolManager(ca_certs=str(world.authority.certificate))

    def status(url: str, fields: dict[str, str]) -> int:
        return http.request("GET", url, headers=fields).status

    fields = signed(keys, REGION)(url)
    assert status(url, fields) == 200
    for other in (f"{url}?x=1", url.replace("timestamp", "snapshot")):
        assert status(other, fields) == 403
    assert status(url, {**fields, "X-Amz-Security-Token": "x"}) == 403
    assert status(url, signed(keys, "eu-west-1")(url)) == 403
    assert status(url, signed(Credentials(keys.access_key, "wrong", keys.token), REGION)(url)) == 403
    assert status(url, {}) == 403


def test_a_certificate_of_aws_iot_lets_a_device_in(world: World):
    world.fetch(world.with_iot(more=f"pack-url = '{world.api.url}pack'"))
    assert world.provider.asked == [(CREDENTIALS, "device", "gateway-1")], "once, for all requests"
    assert world.api.refused == [] and len(world.api.asked) > 4
    assert [asked for asked in world.api.asked if asked.path.startswith("/pack?have=")], "queries are signed too"
    assert {asked.who for asked in world.api.asked} == {None}, "its certificate is for the provider only"


def test_a_device_without_a_thing_names_none(world: World):
    device = world.with_iot()
    device.config.write_text(device.config.read_text().replace("thing = 'gateway-1', ", ""))
    world.fetch(device)
    assert world.provider.asked == [(CREDENTIALS, "device", None)]


@pytest.mark.parametrize(("minutes", "often"), [(4, True), (7, False)])
def test_keys_are_asked_for_again_before_they_expire(world: World, minutes: int, often: bool):
    world.provider.lifetime = timedelta(minutes=minutes)
    world.fetch(world.with_iot())
    assert len(world.provider.given) == (len(world.api.asked) if often else 1)


def test_keys_that_expire_soon_do_where_there_are_no_others(world: World, monkeypatch: pytest.MonkeyPatch):
    world.provider.lifetime = timedelta(minutes=4)
    giving = world.api.new_keys

    def once() -> Credentials:
        monkeypatch.setattr(world.provider, "thing", "another")
        return giving()

    monkeypatch.setattr(world.api, "new_keys", once)
    world.fetch(world.with_iot())
    assert len(world.provider.given) == 1 and len(world.provider.asked) == len(world.api.asked)


def test_keys_that_are_refused_are_asked_for_again_once(world: World):
    device = world.with_iot()
    world.provider.gives_wrong_secrets = True
    kind, error = world.failure(device)
    assert (kind, len(world.provider.given)) == ("network", 2) and error.endswith("the server answers HTTP 403"), error
    assert len(world.api.refused) >= 2


def test_keys_that_end_on_the_way_cost_one_request(world: World, monkeypatch: pytest.MonkeyPatch):
    letting_in = world.api.why_not

    def ends(request) -> str | None:
        if request.path.startswith("/targets/") and len(world.provider.given) == 1:
            world.api.keys.clear()
        return letting_in(request)

    monkeypatch.setattr(world.api, "why_not", ends)
    world.fetch(world.with_iot())
    assert (len(world.provider.given), len(world.api.refused)) == (2, 1)


def test_a_running_device_keeps_its_keys_from_check_to_check(world: World):
    device = world.running()
    device.start()
    try:
        until("three checks", lambda: world.checks() >= 3)
        assert len(world.provider.asked) == 1
        world.api.keys.clear()
        seen = world.checks()
        until("more checks", lambda: world.checks() >= seen + 4)
        assert (len(world.provider.asked), len(world.api.refused)) == (2, 1), "refused keys are replaced"
        world.provider.gives_wrong_secrets = True
        world.api.keys.clear()
        until("refused", lambda: len(world.provider.asked) >= 4)
        world.provider.gives_wrong_secrets = False
        until("works again", lambda: device.status()["failure"] is None)
    finally:
        device.kill()


@pytest.mark.parametrize("hours", [-30, 3])
def test_a_wrong_clock_is_put_right_by_the_servers(world: World, hours: int):
    """By the provider's time, before anything is signed; or by the API's time, after a refusal."""
    world.api.ahead = world.provider.ahead = timedelta(hours=hours)
    world.fetch(world.with_iot())
    assert world.api.refused == [] and len(world.provider.given) == 1
    world.out.unlink()
    world.fetch(world.with_keys(world.api.new_keys()))
    assert world.api.refused == ["Signature expired"]


def test_a_refusal_of_the_provider_is_reported(world: World):
    for wrong, why in [
        ({"thing": "gateway-2"}, "HTTP 403: Invalid thing name passed"),
        ({"alias": "Other"}, "HTTP 404: Role alias does not exist"),
    ]:
        asked = len(world.provider.asked)
        kind, error = world.failure(world.with_iot(**wrong))
        assert kind == "identity" and error.endswith(why) and "/role-aliases/" in error, error
        assert len(world.provider.asked) == asked + 1, "asking again would not help"
    assert world.api.asked == []


def test_a_provider_that_is_not_there_is_tried_again(world: World):
    world.provider.shutdown()
    world.provider.server_close()
    kind, error = world.failure(world.with_iot())
    assert kind == "identity" and CREDENTIALS in error, error


def test_a_redirects_target_gets_no_signature(world: World):
    device = world.with_iot()
    world.fetch(device)
    world.out.unlink()
    path = world.target
    world.api.moved[path] = f"{world.other.url}{path[1:]}"
    world.fetch(device)
    assert [asked.path for asked in world.other.asked] == [path] and world.other.asked[0].who is None
    [fields] = world.other.fields
    assert not [name for name in fields if name == "authorization" or name.startswith("x-amz")], fields


@pytest.mark.parametrize("around", [False, True])
def test_keys_from_a_file_let_a_device_in(world: World, around: bool):
    device = world.with_keys(world.api.new_keys(), Expiration="2030-01-01T00:00:00+00:00")
    if around:
        # In the format of STS's answers.
        keys = json.loads((world.folder / "keys.json").read_text())
        del keys["Version"]
        (world.folder / "keys.json").write_text(json.dumps({"Credentials": keys, "AssumedRoleUser": {"Arn": "arn:aws:sts::1:x"}}))
    world.fetch(device)
    assert world.api.refused == []


def test_a_file_without_keys_is_told_in_a_line_without_what_is_in_it(world: World):
    device = world.with_keys(world.api.new_keys())
    for text in ("hidden", '{"AccessKeyId": "hidden"}', '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "hid\\nden"}'):
        (world.folder / "keys.json").write_text(text)
        kind, error = world.failure(device)
        assert kind == "identity" and "keys.json: " in error and "hid" not in error, error
    (world.folder / "keys.json").unlink()
    assert "keys.json could not be read: No such file" in world.failure(device)[1]
    assert world.api.asked == []


def test_the_region_is_asked_for_where_no_host_has_it(world: World):
    device = world.with_keys(world.api.new_keys())
    device.config.write_text(device.config.read_text().replace(f"region = '{REGION}'\n", ""))
    kind, error = world.failure(device)
    assert kind == "settings" and error.endswith("set region"), error
    # The host is in API Gateway's format. No server is asked, since the keys can't be read.
    (world.folder / "keys.json").unlink()
    device.config.write_text(device.config.read_text().replace(world.api.url, "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/"))
    assert world.failure(device)[0] == "identity"


class TokenWorld:
    """An API that accepts a token, which is in a file and which a command writes."""

    def __init__(self, world: World, api: TokenApi) -> None:
        self.world, self.api, self.file, self.runs = world, api, world.folder / "token", world.folder / "runs"
        self.show("first")
        self.command = world.folder / "get-token"
        self.write(f"echo x >> '{self.runs}'; cat '{self.file}'")

    def show(self, token: str) -> None:
        """Makes this the valid token."""
        self.api.token = token
        self.file.write_text(f"{token}\n")

    def write(self, script: str) -> None:
        self.command.write_text(f"#!/bin/sh\n{script}\n")
        self.command.chmod(0o755)

    def device(self, of: str, more: str = "") -> DeviceProgram:
        identity = f"token = '{self.file}'" if of == "file" else f"token-command = ['{self.command}', 'for', 'device 1']"
        return self.world.device(identity, self.api, more)


@pytest.fixture
def tokens(world: World) -> Iterator[TokenWorld]:
    with TokenApi(world.repository.folder, world.authority) as api:
        yield TokenWorld(world, api)


@pytest.mark.parametrize("of", ["file", "command"])
def test_a_token_that_ends_on_the_way_is_asked_for_again(tokens: TokenWorld, of: str, monkeypatch: pytest.MonkeyPatch):
    tokens.world.fetch(tokens.device(of))
    assert tokens.api.refused == [] and (of == "file" or tokens.runs.read_text() == "x\n"), "once, for all requests"
    tokens.world.out.unlink()
    letting_in = tokens.api.refusal

    def ends(request) -> tuple[int, str] | None:
        if request.path.startswith("/targets/") and tokens.api.token == "first":
            tokens.show("second")
        return letting_in(request)

    monkeypatch.setattr(tokens.api, "refusal", ends)
    tokens.world.fetch(tokens.device(of))
    assert len(tokens.api.refused) == 1


@pytest.mark.parametrize("of", ["file", "command"])
def test_a_token_that_stays_wrong_is_shown_once(tokens: TokenWorld, of: str):
    tokens.api.token = "another"
    kind, error = tokens.world.failure(tokens.device(of))
    assert kind == "network" and error.endswith("HTTP 401") and "first" not in error, error
    assert len(tokens.api.refused) == 1


def test_a_command_gets_its_arguments_and_no_shell(tokens: TokenWorld):
    tokens.api.token = "for-device_1-2"
    tokens.write('echo "$1-$(echo "$2" | tr " " _)-$#"')
    tokens.world.fetch(tokens.device("command"))


@pytest.mark.parametrize("with_packs", [False, True])
def test_a_command_that_fails_is_one_line(tokens: TokenWorld, with_packs: bool):
    device = tokens.device("command", f"pack-url = '{tokens.api.url}pack'" if with_packs else "")
    for script, why in [
        ("echo hidden; echo hidden >&2; exit 7", "ended with exit status: 7; run it by hand to see why"),
        ("", "gives no valid token: it is empty or has characters that a token can't have"),
        ("echo hidden; echo hidden", "gives no valid token: it is empty or has characters that a token can't have"),
        ("yes", "writes more than 65536 bytes"),
    ]:
        tokens.runs.write_text("")
        tokens.write(f"echo x >> '{tokens.runs}'\n{script}")
        kind, error = tokens.world.failure(device)
        assert tokens.runs.read_text() == "x\n", "nor would it do better for the next request"
        assert (kind, error) == ("identity", f"the device can't show who it is: {tokens.command} {why}")
    tokens.command.unlink()
    assert "can't be run: No such file" in tokens.world.failure(device)[1]
    assert tokens.api.asked == [] and tokens.api.fields == []


def test_a_redirects_target_gets_no_token(tokens: TokenWorld):
    path = f"targets/gateway/{sha256(DATA)}.{NAME.partition('/')[2]}"
    tokens.world.fetch(tokens.device("command"))
    [asked] = {asked.path for asked in tokens.api.asked if asked.path.startswith("/targets/")}
    assert asked.count("/") == path.count("/") + 1
    tokens.world.out.unlink()
    tokens.api.moved[asked] = f"{tokens.world.other.url}{asked[1:]}"
    tokens.world.fetch(tokens.device("command"))
    assert [fields.get("authorization") for fields in tokens.world.other.fields] == [None]
