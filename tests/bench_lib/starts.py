"""How fast each function starts, and how much memory it has then. A Runtime API waits for the
function's first request."""

import socket
import statistics
import subprocess
import time
import zipfile
from pathlib import Path

from cloud_lib import Refusal
from cloud_lib.deployment import PROGRAMS

from .figures import megabytes, memory, percentiles

STAGES = ("hash", "large", "rebuild", "sign", "publish", "refresh", "serve", "pack")

# The functions of the program `devices`, which tells them apart by the handler's name.
OF_DEVICES = ("serve", "pack")

# The number of starts of each stage.
STARTS = 30

# The environment of a function. A function sends nothing before its first event.
ENVIRONMENT = {
    **{f"TUFLINE_{kind}_{name}": "x" for kind in ("QUEUE", "DLQ") for name in ("UPLOADS", "LARGE", "CHANGES", "SIGN", "PUBLISH")},
    **{f"TUFLINE_KEY_{name}": "x" for name in ("TARGETS", "BINS", "SNAPSHOT", "TIMESTAMP")},
    **{f"TUFLINE_{name}_BUCKET": "x" for name in ("UPLOADS", "REPOSITORY", "LEDGER")},
    "TUFLINE_UPLOADS_PREFIX": "targets/",
    "TUFLINE_EVENT_BUS": "x",
    "TUFLINE_REPOSITORY": "x",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    **{f"AWS_LAMBDA_{name}": "x" for name in ("FUNCTION_NAME", "FUNCTION_VERSION", "LOG_GROUP_NAME", "LOG_STREAM_NAME")},
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
}


def functions(bundle: Path, scratch: Path) -> list[tuple[str, str, str]]:
    """The rows about the functions' binaries in `bundle`. Stages take turns, so that other load on
    the machine affects all alike."""
    bootstraps = {program: bundle / program / "bootstrap" for program in PROGRAMS}
    taken: dict[str, list[tuple[float, int]]] = {stage: [] for stage in STAGES}
    for _ in range(STARTS):
        for stage in STAGES:
            taken[stage].append(start(bootstraps["devices" if stage in OF_DEVICES else "pipeline"], stage))
    rows = []
    for stage, starts in taken.items():
        seconds, resident = zip(*starts, strict=True)
        measured = f"{percentiles(seconds)}; {megabytes(statistics.median(resident))}"
        rows.append((f"function {stage}: process start to first poll; memory then", measured, "≤ 15 ms"))
    for program, bootstrap in bootstraps.items():
        packed = scratch / f"{program}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(bootstrap, "bootstrap")
        rows.append((f"functions: {program}, stripped", megabytes(bootstrap.stat().st_size), ""))
        rows.append((f"functions: {program}, zipped", megabytes(packed.stat().st_size), "≤ 5 MB"))
    return rows


def start(bootstrap: Path, stage: str) -> tuple[float, int]:
    """Seconds from the start of the process until it asks a Runtime API for its first event, and
    its memory then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        api = f"127.0.0.1:{server.getsockname()[1]}"
        variables = {**ENVIRONMENT, "_HANDLER": stage, "AWS_LAMBDA_RUNTIME_API": api}
        started = time.perf_counter()
        process = subprocess.Popen([str(bootstrap)], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            connection, _ = server.accept()
            with connection:
                request = connection.recv(4096)
                seconds = time.perf_counter() - started
                if not request.startswith(b"GET /2018-06-01/runtime/invocation/next"):
                    raise Refusal(f"the function {stage} asked for {request[:80]!r}")
                return seconds, memory(process.pid)
        except TimeoutError:
            raise Refusal(f"the function {stage} asked for no event within 10 s; exit code {process.poll()}") from None
        finally:
            process.kill()
            process.wait()
