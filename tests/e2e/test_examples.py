"""The programs in `examples/`, run as a reader runs them. `cdk/test/package.test.ts` has the CDK
app.

Those in Rust are what `cargo test --no-run` builds. `device/c/tests/example.rs` builds and runs
the one in C. go-tuf's is skipped where Go is missing, and the AWS CLI's where that is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cloud_lib import ROOT

from . import tough_device
from .cloud import CloudForm
from .device import sha256
from .device_program import PROGRAM as TUFLINE_DEVICE
from .device_program import DeviceProgram
from .folder import FolderForm
from .form import DONE, REJECTED, TIMED_OUT, TUFLINE, Form
from .tuf_js import PROGRAM as TUF_JS

EXAMPLES = ROOT / "examples"
NAME = "gateway/v2/firmware.bin"
CUSTOM = '{"version": "2.0.1", "note": "a \\"quoted\\" word"}'


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    """A new build."""
    built = tmp_path / "firmware.bin"
    built.write_bytes(os.urandom(300_000))
    return built


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """The variables of a shell that finds our programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in (TUFLINE, TUFLINE_DEVICE):
        (folder / program.name).symlink_to(program)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def run(*command: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)


def succeed(*command: object, **options) -> str:
    done = run(*command, **options)
    assert done.returncode == DONE, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def published(form: Form, firmware: Path) -> FolderForm:
    form.put(NAME, firmware.read_bytes())
    form.wait_published({NAME: sha256(firmware.read_bytes())})
    return form


# A build system


def test_publish_says_what_came_of_it(folder: FolderForm, firmware: Path, programs: dict[str, str]):
    publish = [EXAMPLES / "build-system" / "publish", firmware]
    environment = {**programs, "TUFLINE_ENDPOINTS": str(folder.data / "endpoints.json"), "PATIENCE": "60"}
    told = succeed(*publish, "gateway/v2/", "2.0.1", env=environment)
    assert told.splitlines()[-1] == f"devices see {NAME}, version 2.0.1"
    assert folder.device().download_bytes(NAME) == firmware.read_bytes()
    assert folder.device().custom(NAME) == {"version": "2.0.1"}

    refused = run(*publish, "gateway v2/", "2.0.1", env=environment)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (REJECTED, 2), refused.stderr
    assert refused.stderr.endswith("gateway v2/firmware.bin was rejected; the line above says what to change\n")

    # The upload is in the folder, and nothing publishes it.
    folder.kill()
    firmware.write_bytes(b"a newer build")
    late = run(*publish, "gateway/v2/", "2.0.2", env={**environment, "PATIENCE": "1"})
    assert late.returncode == TIMED_OUT and "is uploaded, but devices don't see it yet" in late.stderr, late.stderr

    lost = run(*publish, "gateway/v2/", "2.0.2", env={**environment, "TUFLINE_ENDPOINTS": "/nowhere"})
    assert lost.returncode == 1 and "it is safe to run this again" in lost.stderr, lost.stderr


def test_publish_with_cp(folder: FolderForm, firmware: Path):
    succeed(EXAMPLES / "build-system" / "publish-with-cp", firmware, NAME, folder.uploads, CUSTOM)
    folder.wait_published({NAME: sha256(firmware.read_bytes())})
    assert folder.device().custom(NAME) == {"version": "2.0.1", "note": 'a "quoted" word'}
    assert {path.name for path in folder.path(NAME).parent.iterdir()} == {"firmware.bin", "firmware.bin.tuf.json"}
    # One event: devices never saw the file without its custom metadata.
    assert len(folder.told([NAME])[NAME]) == 1


@pytest.mark.skipif(shutil.which("aws") is None, reason="the AWS CLI is not installed")
def test_publish_with_the_aws_cli(cloud: CloudForm, firmware: Path):
    name = f"{cloud.unique('aws-cli')}/firmware.bin"
    keys = cloud.endpoints
    # Away from the caller's configuration.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_ENDPOINT_URL": keys["aws"],
        "AWS_DEFAULT_REGION": keys["region"],
        "AWS_ACCESS_KEY_ID": keys["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
    }
    publish = EXAMPLES / "build-system" / "publish-with-aws-cli"
    succeed(publish, firmware, name, cloud.bucket, CUSTOM, env=environment)
    cloud.wait_published({name: sha256(firmware.read_bytes())})
    assert cloud.device().custom(name) == {"version": "2.0.1", "note": 'a "quoted" word'}


# Devices


def python_tuf(scratch: Path) -> list[object]:
    return [sys.executable, EXAMPLES / "devices" / "python-tuf" / "device.py"]


def tuf_js(scratch: Path) -> list[object]:
    # The packages are beside the program, as `npm install` puts them.
    program = Path(shutil.copy(EXAMPLES / "devices" / "tuf-js" / "device.mjs", scratch))
    (scratch / "node_modules").symlink_to(TUF_JS.parent / "node_modules")
    return ["node", program]


def tough(scratch: Path) -> list[object]:
    return [tough_device.PROGRAM]


def go_tuf(scratch: Path) -> list[object]:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    source = shutil.copytree(EXAMPLES / "devices" / "go-tuf", scratch / "source")
    if (tidy := run("go", "mod", "tidy", cwd=source)).returncode != 0:
        pytest.skip(f"no Go modules: {tidy.stderr.splitlines()[-1]}")
    succeed("go", "build", "-o", scratch / "device", ".", cwd=source)
    return [scratch / "device"]


@pytest.mark.parametrize("client", [python_tuf, tuf_js, tough, go_tuf])
def test_a_device_with(client, folder: FolderForm, firmware: Path, tmp_path: Path):
    published(folder, firmware)
    points, out = folder.endpoints, tmp_path / "fetched"
    where = [points["trusted_root"], points["metadata_url"], points["targets_url"], tmp_path / "state"]
    command = [*client(tmp_path), *where]
    succeed(*command, NAME, out)
    assert out.read_bytes() == firmware.read_bytes()
    folder.put(NAME, b"the next build")
    folder.wait_published({NAME: sha256(b"the next build")})
    for _ in ("it updates", "nothing changed"):
        succeed(*command, NAME, out)
        assert out.read_bytes() == b"the next build"
    unknown = run(*command, "gateway/unknown", tmp_path / "unknown")
    assert unknown.returncode != DONE and not (tmp_path / "unknown").exists(), unknown.stdout


def shell(settings: Path, *arguments: object) -> list[object]:
    return [EXAMPLES / "devices" / "tufline-device" / "update", settings, *arguments]


def rust(settings: Path, *arguments: object) -> list[object]:
    return [TUFLINE.parent / "examples" / "rust_device", settings, *arguments]


@pytest.mark.parametrize("program", [shell, rust])
def test_a_device_with_tufline_device_in(program, folder: FolderForm, firmware: Path, programs: dict[str, str], tmp_path: Path):
    published(folder, firmware)
    points, out = folder.endpoints, tmp_path / "fetched"
    device = DeviceProgram(tmp_path / "device", Path(points["trusted_root"]), points["metadata_url"], settings="tries = 1")
    succeed(*program(device.config, NAME, out), env=programs)
    assert out.read_bytes() == firmware.read_bytes()
    unknown = run(*program(device.config, "gateway/unknown", out), env=programs)
    assert unknown.returncode == 1 and "gateway/unknown" in unknown.stderr, unknown.stderr
    folder.stop()
    later = run(*program(device.config, NAME, out), env=programs)
    assert later.returncode == (75 if program is shell else 1), later.stderr
    assert out.read_bytes() == firmware.read_bytes()
