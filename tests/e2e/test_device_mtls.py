"""With mutual TLS, a device shows its certificate to the configured server, and to no server to
which that one redirects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from .device import sha256
from .device_program import DeviceProgram
from .foreign import ForeignRepository
from .tls_servers import Asked, Authority, Server

NAME, DATA = "firmware.bin", b"firmware" * 1000
TIMESTAMP, TARGET = "metadata/timestamp.json", f"targets/{sha256(DATA)}.{NAME}"
MOVED = pytest.mark.parametrize("path", [TIMESTAMP, TARGET])


class World:
    """The repository's server, which accepts known certificates, and another server, which requests
    one."""

    def __init__(self, folder: Path, first: Server, other: Server, open_one: Server, device: DeviceProgram) -> None:
        self.folder, self.first, self.other, self.open_one, self.device = folder, first, other, open_one, device
        self.out = folder / "out.bin"

    def fetch(self) -> None:
        self.device.fetch(NAME, self.out)
        assert self.out.read_bytes() == DATA

    def refuses(self) -> str:
        """The reason why the device doesn't get the target."""
        told = self.device.failure("fetch", NAME, "--out", self.out)
        assert told["kind"] == "network" and not self.out.exists(), told
        return told["error"]

    def those_who_asked(self) -> set[str | None]:
        return {asked.who for asked in self.first.asked}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    repository = ForeignRepository(tmp_path / "repository")
    repository.publish({NAME: DATA})
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.make("device", ExtendedKeyUsageOID.CLIENT_AUTH)
    files, root = repository.folder, repository.metadata / "1.root.json"
    with Server(files, "127.0.0.1", authority, strict=True) as first, Server(files, "localhost", authority) as other, Server(files) as open_one:
        settings = f"ca = '{authority.certificate}'\ntries = 2\nidentity.certificate = {{ certificate = '{certificate}', key = '{key}' }}"
        device = DeviceProgram(tmp_path / "device", root, f"{first.url}metadata", settings=settings)
        yield World(tmp_path, first, other, open_one, device)


def test_the_first_server_accepts_a_certificate(world: World):
    """The control: the server requests a certificate, and refuses clients without one."""
    world.fetch()
    assert world.those_who_asked() == {"device"} and world.first.strangers == 0
    nobody = DeviceProgram(
        world.folder / "nobody",
        world.folder / "repository" / "metadata" / "1.root.json",
        f"{world.first.url}metadata",
        settings=f"ca = '{world.folder / 'authority' / 'authority.pem'}'\ntries = 1",
    )
    assert nobody.failure("refresh")["kind"] == "network" and world.first.strangers > 0


def test_another_server_would_accept_a_certificate(world: World):
    """The control for the following tests: the other server requests a certificate, and would
    accept it."""
    config = world.device.config
    config.write_text(config.read_text().replace(world.first.url, world.other.url))
    world.fetch()
    assert {asked.who for asked in world.other.asked} == {"device"}


@MOVED
def test_another_server_sees_a_stranger(world: World, path: str):
    world.first.moved[f"/{path}"] = f"{world.other.url}{path}"
    world.fetch()
    assert world.those_who_asked() == {"device"}
    assert world.other.asked == [Asked(f"/{path}", None)]


@MOVED
def test_after_a_redirect_back_the_first_server_sees_a_stranger_too(world: World, path: str):
    """Otherwise another server could make a device request things in its own name."""
    back = f"{world.first.url}{path}?back"
    world.first.moved[f"/{path}"] = f"{world.other.url}{path}"
    world.other.moved[f"/{path}"] = back
    assert path.rpartition("/")[2] in world.refuses()
    assert world.those_who_asked() == {"device"} and world.first.strangers > 0
    assert not [asked for asked in world.first.asked if "back" in asked.path]
    assert {asked.who for asked in world.other.asked} == {None}


@MOVED
def test_a_redirect_from_https_to_http_is_not_followed(world: World, path: str):
    world.first.moved[f"/{path}"] = f"{world.open_one.url}{path}"
    assert "from https to http" in world.refuses()
    assert not world.open_one.asked
