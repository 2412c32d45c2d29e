"""The AWS emulator (ministack), and the deployment of the CDK app on it.

`tests/emulator.md` says what the emulator does differently from AWS.
"""

import json
import platform
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from . import Refusal
from . import processes
from .setup import CDK, VENV

REGION = "us-east-1"
ACCOUNT = "000000000000"

# The emulator's root user. The emulator accepts any secret for it and lets it do anything, so this
# key only deploys and makes the users.
ROOT_KEY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

STACK = "Tufline"

# The machine's processor, on which the emulator runs the functions, by `cdk/bundle`'s name.
ARCHITECTURE = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def free_port() -> int:
    """A free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 30.0) -> None:
    """Waits until `process` answers 200 at `url`."""
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise Refusal(f"`{Path(process.args[0]).name}` stopped: {processes.last_line(log)} ({log})")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise Refusal(f"no answer from {url} after {seconds:.0f} s: {error} ({log})") from None
        time.sleep(0.05)


def start(data: Path) -> str:
    """Starts the emulator, and returns its address."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    log = data / "emulator.log"
    process = processes.start(
        [VENV / "bin" / "ministack"],
        data,
        log,
        {
            "AUTH": "true",  # IAM is enforced.
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",  # so in queue URLs too
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",  # or it listens on another, fixed port
            "STATE_DIR": str(data / "state"),
            "S3_DATA_DIR": str(data / "state" / "s3"),
            # The emulator passes this on to the functions.
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ENDPOINT_URL_S3": endpoint,
        },
    )
    wait_for(f"{endpoint}/_ministack/health", process, log)
    return endpoint


def bootstrap(data: Path, endpoint: str) -> None:
    """Prepares the emulator's account for the CDK."""
    # Outside the app's folder, so that bootstrapping doesn't synthesize the app.
    processes.run([*CDK_CLI, "bootstrap", f"aws://{ACCOUNT}/{REGION}"], data, data / "bootstrap.log", cdk_variables(data, endpoint))


def deploy(data: Path, endpoint: str, stack: str, context: dict[str, str]) -> dict[str, str]:
    """Deploys the CDK app with the CDK CLI and the binaries in `data/bundle`. Returns its outputs
    as the `TUFLINE_…` variables."""
    log = data / f"deploy-{stack}.log"
    variables = cdk_variables(data, endpoint)
    outputs, synthesized = data / f"outputs-{stack}.json", data / f"cdk.out-{stack}"
    context = {"emulator": "true", "architecture": ARCHITECTURE, "name": stack, "bundle": data / "bundle", **context}
    options = [part for name, value in context.items() for part in ("-c", f"{name}={value}")]
    processes.run([*CDK_CLI, "synth", "--quiet", "--output", synthesized, *options], data, log, variables, cwd=CDK)
    processes.run(
        [*CDK_CLI, "deploy", "--app", synthesized, "--require-approval", "never", "--outputs-file", outputs],
        data,
        log,
        variables,
    )
    return {variable(name): value for name, value in json.loads(outputs.read_text())[stack].items()}


CDK_CLI = [CDK / "node_modules" / ".bin" / "cdk", "--no-notices", "--ci"]


def cdk_variables(data: Path, endpoint: str) -> dict[str, str]:
    """The environment of the CDK CLI."""
    return {
        **ROOT_KEY,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_HOME": str(data / "home"),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "true",
        "NODE_NO_WARNINGS": "1",
    }


def api_url(endpoint: str, resources: dict[str, str]) -> str:
    """The URL at which the emulator answers devices. It has one host name for all APIs."""
    return f"{endpoint}/_aws/execute-api/{resources['TUFLINE_API_ID']}/$default"


def variable(output: str) -> str:
    """The variable of an output: `TUFLINE_DLQ_SIGN` for `DlqSign`."""
    return "TUFLINE_" + re.sub(r"(?<!^)(?=[A-Z])", "_", output).upper()
