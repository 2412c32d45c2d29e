"""The recipes of docs/device-run.md with the real RAUC, SWUpdate and dpkg; and the Debian package
of `tufline-device`."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_lib import ROOT

from .device import sha256
from .device_program import PROGRAM
from .device_run import DONE, NAME, NOT_INSTALLED, WAITS, RunningDevice
from .foreign import ForeignRepository
from .network import Network
from .polling import until

pytestmark = pytest.mark.slow

RECIPES = ROOT / "device" / "recipes"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def can_mount() -> bool:
    """Whether this machine can mount as RAUC mounts a bundle."""
    return subprocess.run(["unshare", "--mount", "losetup", "--find"], capture_output=True).returncode == 0


def run(*command: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **options)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key that signs bundles and updates, and its certificate."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    extension = ["-addext", "extendedKeyUsage=emailProtection,codeSigning"]
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", 2, "-subj", "/CN=test", *extension)
    return key, cert


class Place:
    """A repository, and a device whose install command is a recipe."""

    def __init__(self, folder: Path, network: Network, repository: ForeignRepository) -> None:
        self.folder, self.repository, self.network = folder, repository, network

    def device(self, install: list[object], confirm: list[object] = (), run: str = "") -> RunningDevice:
        device = RunningDevice(self.folder / "device", self.repository.metadata / "1.root.json", f"{self.network.url}metadata", run=run)
        commands = f"install = {list(map(str, install))}\nconfirm = {list(map(str, confirm))}\n"
        device.config.write_text(re.sub(r"install = \[.*\]\n", commands, device.config.read_text()))
        return device


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    repository = ForeignRepository(tmp_path / "repository")
    with Network(repository.folder) as network:
        yield Place(tmp_path, network, repository)


class Rauc:
    """RAUC's service on its own system bus, with two slots in files."""

    CONFIG = """\
[system]
compatible=test
bootloader=custom
statusfile={folder}/status
mountprefix={folder}/mnt
[handlers]
bootloader-custom-backend={folder}/backend
[keyring]
path={folder}/cert.pem
[slot.system.0]
device={folder}/A.img
type=raw
bootname=A
[slot.system.1]
device={folder}/B.img
type=raw
bootname=B
"""
    BACKEND = """\
#!/bin/sh
cd "$(dirname "$0")"
case $1 in
    get-primary) cat primary ;;
    set-primary) echo "$2" > primary ;;
    get-state) cat "state-$2" ;;
    set-state) echo "$3" > "state-$2" ;;
esac
"""
    # The path of a socket must be short.
    BUS = """\
<busconfig><type>system</type><listen>unix:path={socket}</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mnt").mkdir(parents=True)
        self.key, self.cert = certificate(folder)
        (folder / "system.conf").write_text(self.CONFIG.format(folder=folder))
        (folder / "backend").write_text(self.BACKEND)
        (folder / "backend").chmod(0o755)
        for name, text in (("primary", "A"), ("state-A", "good"), ("state-B", "good")):
            (folder / name).write_text(f"{text}\n")
        for slot in "AB":
            (folder / f"{slot}.img").write_bytes(bytes(1 << 20))

    def bundle(self, image: bytes, version: str) -> bytes:
        content = self.folder / f"bundle-{version}"
        content.mkdir()
        (content / "system.img").write_bytes(image)
        manifest = f"[update]\ncompatible=test\nversion={version}\n[bundle]\nformat=plain\n[image.system]\nfilename=system.img\n"
        (content / "manifest.raucm").write_text(manifest)
        out = self.folder / f"{version}.raucb"
        run("rauc", "--cert", self.cert, "--key", self.key, "bundle", content, out)
        return out.read_bytes()

    @contextlib.contextmanager
    def bus(self) -> Iterator[dict[str, str]]:
        """Yields the environment variables by which its clients find it."""
        with tempfile.TemporaryDirectory() as short:
            socket, config = Path(short) / "bus", Path(short) / "bus.conf"
            config.write_text(self.BUS.format(socket=socket))
            with subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork"], stderr=subprocess.DEVNULL) as bus:
                try:
                    until("a bus", socket.exists)
                    yield {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket}", "STATE_DIRECTORY": str(self.folder), "REBOOT": "true"}
                finally:
                    bus.terminate()

    @contextlib.contextmanager
    def booted(self, slot: str, variables: dict[str, str]) -> Iterator[None]:
        """Runs its service as on a device that started from this slot."""
        command = ["rauc", "-c", str(self.folder / "system.conf"), "service", f"--override-boot-slot={slot}"]
        with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
            status = ["timeout", "5", "rauc", "status"]
            ready = lambda: subprocess.run(status, env={**os.environ, **variables}, capture_output=True).returncode == 0
            try:
                until("RAUC answers", ready)
                yield
            finally:
                service.terminate()


@needs("rauc", "mksquashfs", "dbus-daemon", "openssl", "losetup")
@pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here")
def test_rauc(place: Place, monkeypatch: pytest.MonkeyPatch):
    rauc = Rauc(place.folder / "rauc")
    device = place.device([RECIPES / "rauc-install", "{file}"], [RECIPES / "rauc-confirm"])
    first, second = os.urandom(100_000), os.urandom(100_000)
    with rauc.bus() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        place.repository.publish({NAME: rauc.bundle(first, "1")})
        with rauc.booted("A", variables):
            assert device.once() == WAITS, "its reboot is still to come"
            assert (rauc.folder / "B.img").read_bytes().startswith(first)
            assert (rauc.folder / "primary").read_text() == "B\n"
            assert device.once() == WAITS and device.status()["state"] == "unconfirmed"
        # Without RAUC's service the state is unknown, and nothing is installed again.
        assert device.once() == WAITS
        with rauc.booted("B", variables):
            assert device.once() == DONE, device.events()
            assert device.journal()["installed"] == device.status()["listed"]
            place.repository.publish({NAME: rauc.bundle(second, "2")})
            assert device.once() == WAITS
            assert (rauc.folder / "A.img").read_bytes().startswith(second)
        with rauc.booted("A", variables):
            assert device.once() == DONE and device.status()["installed"] == device.status()["listed"]
    assert sum(", try " in event for event in device.events()) == 2, device.events()


@needs("rauc", "mksquashfs", "dbus-daemon", "openssl", "losetup")
@pytest.mark.skipif(not can_mount(), reason="nothing can be mounted here")
def test_rauc_refuses_what_others_signed(place: Place, monkeypatch: pytest.MonkeyPatch):
    rauc, other = Rauc(place.folder / "rauc"), Rauc(place.folder / "other")
    device = place.device([RECIPES / "rauc-install", "{file}"], [RECIPES / "rauc-confirm"])
    place.repository.publish({NAME: other.bundle(os.urandom(100_000), "1")})
    with rauc.bus() as variables, rauc.booted("A", variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert device.once() == NOT_INSTALLED
    assert (rauc.folder / "B.img").read_bytes() == bytes(1 << 20)


@needs("swupdate", "openssl", "cpio")
def test_swupdate(place: Place):
    key, cert = certificate(place.folder)
    firmware, installed = os.urandom(100_000), place.folder / "installed.bin"

    def update(data: bytes) -> bytes:
        description = f"""software = {{
    version = "1.0.0";
    hardware-compatibility: [ "1.0" ];
    files: ( {{ filename = "firmware.bin"; path = "{installed}"; sha256 = "{sha256(firmware)}"; }} );
}}
"""
        (place.folder / "sw-description").write_text(description)
        (place.folder / "firmware.bin").write_bytes(data)
        signed = ["-in", "sw-description", "-out", "sw-description.sig", "-outform", "DER", "-nosmimecap", "-binary"]
        run("openssl", "cms", "-sign", *signed, "-signer", cert, "-inkey", key, cwd=place.folder)
        names = "sw-description\nsw-description.sig\nfirmware.bin\n"
        packed = ["cpio", "--create", "--format=crc", "--quiet"]
        return subprocess.run(packed, input=names.encode(), check=True, capture_output=True, cwd=place.folder).stdout

    device = place.device(["swupdate", "-k", cert, "-H", "gateway:1.0", "-i", "{file}"], run="install-tries = 1")
    place.repository.publish({NAME: update(firmware)})
    assert device.once() == DONE, device.errors.read_text()
    assert installed.read_bytes() == firmware and device.once() == DONE
    place.repository.publish({NAME: update(b"other" + firmware[5:])})
    assert device.once() == NOT_INSTALLED, "SWUpdate refuses it"


def package(folder: Path, version: str, postinst: str = "") -> bytes:
    """A small Debian package with one file, which contains the version."""
    tree = folder / f"package-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    about = f"Package: firmware\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@localhost>\nDescription: a test\n"
    (tree / "DEBIAN" / "control").write_text(about)
    if postinst:
        (tree / "DEBIAN" / "postinst").write_text(postinst)
        (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "firmware").write_text(version)
    made = folder / f"{version}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", tree, made)
    return made.read_bytes()


def other_root(folder: Path) -> Path:
    """A root directory with what dpkg needs."""
    root = folder / "root"
    for made in ("info", "updates", "triggers", "parts"):
        (root / "var/lib/dpkg" / made).mkdir(parents=True)
    for made in ("status", "available"):
        (root / "var/lib/dpkg" / made).touch()
    return root


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root only")


@needs("dpkg-deb", "dpkg")
@needs_root
def test_dpkg(place: Place):
    root = other_root(place.folder)
    device = place.device([RECIPES / "dpkg-install", "{file}", f"--root={root}", "--force-script-chrootless"])
    for version in ("1", "2", "1"):
        place.repository.publish({NAME: (package if not (place.folder / f"{version}.deb").exists() else known)(place.folder, version)})
        assert device.once() == DONE, device.errors.read_text()
        assert (root / "firmware").read_text() == version and device.once() == DONE
    # The package's script fails the first time: dpkg finishes what it left half done.
    script = f"#!/bin/sh\n[ -e {place.folder}/tried ] || {{ touch {place.folder}/tried; exit 1; }}\n"
    place.repository.publish({NAME: package(place.folder, "3", script)})
    assert device.once() == NOT_INSTALLED and device.once() == DONE, device.errors.read_text()
    state = run("dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Version} ${db:Status-Status}", "firmware").stdout
    assert state == "3 installed"


def known(folder: Path, version: str) -> bytes:
    return (folder / f"{version}.deb").read_bytes()


# The package of tufline-device


def build(program: Path, out: Path) -> Path:
    out.mkdir(parents=True)
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000", "DEBEMAIL": "tufline@users.noreply.github.com"}
    return Path(run(sys.executable, ROOT / "device/debian/build", program, "--out", out, env=variables).stdout.strip())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tested program, without debug symbols."""
    folder = tmp_path_factory.mktemp("package")
    run("strip", "-o", folder / "tufline-device", PROGRAM)
    return build(folder / "tufline-device", folder / "out")


@needs("dpkg-deb")
def test_the_package_is_the_same_each_time(tmp_path: Path):
    # Any program will do.
    program = Path("/bin/true").resolve()
    one, other = build(program, tmp_path / "1"), build(program, tmp_path / "2")
    assert hashlib.file_digest(one.open("rb"), "sha256").digest() == hashlib.file_digest(other.open("rb"), "sha256").digest()
    listed = run("dpkg-deb", "--contents", one).stdout.splitlines()
    assert all(" root/root " in line for line in listed)
    names = {line.split()[-1] for line in listed}
    assert {"./usr/bin/tufline-device", "./lib/systemd/system/tufline-device.service", "./etc/tufline-device.toml"} <= names
    assert not {line for line in listed if line[5] == "w" or line[8] == "w"}, "only root may write there"


@needs("dpkg-deb", "dpkg", "strip")
@needs_root
def test_the_package_installs_keeps_settings_and_purges(made: Path, tmp_path: Path):
    root = other_root(tmp_path)
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends"]
    run(*dpkg, "--install", made)
    assert run(root / "usr/bin/tufline-device", "--version").stdout.startswith("tufline-device ")
    settings = root / "etc/tufline-device.toml"
    # The packaged settings can be read; they name nothing to run yet.
    asked = subprocess.run([root / "usr/bin/tufline-device", "--config", settings, "run", "--once"], capture_output=True, text=True)
    assert asked.returncode == 2 and "no table [run]" in asked.stderr
    settings.write_text("# mine\n")
    run(*dpkg, "--install", made)
    assert settings.read_text() == "# mine\n"
    run(*dpkg, "--remove", "tufline-device")
    assert settings.exists() and not (root / "usr/bin/tufline-device").exists()
    run(*dpkg, "--purge", "tufline-device")
    assert not settings.exists()


@needs("dpkg-deb", "lintian", "strip")
def test_lintian_has_nothing_to_say(made: Path):
    done = subprocess.run(["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", made], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@needs("systemd-analyze")
def test_systemd_reads_the_unit(tmp_path: Path):
    unit = tmp_path / "tufline-device.service"
    text = (ROOT / "device/debian/tufline-device.service").read_text()
    unit.write_text(text.replace("/usr/bin/tufline-device", str(PROGRAM)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "tufline-device" not in done.stderr, done.stderr
