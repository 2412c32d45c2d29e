"""What both forms of a repository can do, so that one test runs on either."""

import itertools
import json
import os
import subprocess
import tempfile
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloud_lib import ROOT

from .device import Device, sha256
from .http_client import ask
from .polling import until
from .tuf_js import TufJsDevice

# The folder of the command line's build, as `tests/cloud` finds it.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TUFLINE = Path(os.environ.get("TUFLINE_BIN", TARGET / "release" / "tufline")).resolve()

# The exit codes of `tufline`.
DONE, FAILED, MISUSED, REJECTED, TIMED_OUT, ATTENTION, SUPERSEDED = 0, 1, 2, 3, 4, 5, 6

# The expected names, each with the SHA-256 of its bytes, or `None` if there must be no such target.
Expected = Mapping[str, str | None]


def run(*arguments: object, variables: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    """Runs `tufline` to its end with these environment variables, away from the caller's
    configuration."""
    mine = ("TUFLINE_", "AWS_", "RUST_LOG")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment |= variables or {}
    return subprocess.run(
        [str(TUFLINE), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300, **options
    )


def json_lines(done: subprocess.CompletedProcess) -> list[dict]:
    """The lines that a command printed with `--json`."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line_error(done: subprocess.CompletedProcess) -> str:
    """The error of a command that had to fail: one line, with exit code 1."""
    assert done.returncode == FAILED, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tufline: "), done.stderr
    return lines[0]


class Form(ABC):
    """A running repository. Tests share it, so each uses its own names."""

    # "folder" or "cloud".
    kind: str
    endpoints: dict
    # How long a small upload may take to be published, in seconds: enough for a busy machine.
    patience: float = 60.0

    _numbers = itertools.count(1)

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    # Build systems

    @abstractmethod
    def put(self, name: str, data: bytes, custom: str | None = None) -> None:
        """Uploads a target; `custom` is the text of its custom metadata. When this returns, the
        upload is acknowledged."""

    @abstractmethod
    def put_file(self, name: str, path: Path) -> None:
        """Uploads a file as large ones are uploaded: in parts, each with its own checksum, or
        written in place."""

    @abstractmethod
    def deliver(self, role: str, data: bytes) -> None:
        """Uploads a document that another party signed."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes an upload."""

    @abstractmethod
    def place(self, name: str) -> str:
        """The place of an upload, as events name it."""

    # What came of it

    @abstractmethod
    def events(self) -> list[dict]:
        """All events in order since the repository began; on AWS, since the tests began."""

    @abstractmethod
    def blobs(self) -> set[str]:
        """The digests of all stored blobs."""

    @abstractmethod
    def manifests(self, after: int = 0) -> list[dict]:
        """The manifests of all generations above `after`, oldest first."""

    @abstractmethod
    def metadata_contents(self) -> dict[str, int]:
        """How many different contents each metadata file has ever had."""

    @abstractmethod
    def connection(self, operator: bool) -> list[object]:
        """The arguments with which a command finds this repository, as an uploader or as an
        operator."""

    def generation(self) -> int:
        """The newest generation, published or not."""
        manifests = self.manifests()
        return manifests[-1]["generation"] if manifests else 0

    def events_about(self, names: Iterable[str], kind: str) -> list[dict]:
        """The details of all events of `kind` about uploads of these names."""
        names = set(names)
        return [event["detail"] for event in self.events() if event["detail-type"] == kind and event["detail"].get("name") in names]

    def told(self, names: Iterable[str]) -> dict[str, list[dict]]:
        """For each name, the details of its `Targets Published` events."""
        told: dict[str, list[dict]] = {name: [] for name in names}
        for event in self.events():
            if event["detail-type"] == "Targets Published":
                for target in event["detail"]["targets"]:
                    if target["name"] in told:
                        told[target["name"]].append(target)
        return told

    def signed(self, file: str) -> dict:
        """The signed part of a metadata file, read as everybody may read it."""
        return json.loads(ask(f"{self.endpoints['metadata_url']}{file}").body)["signed"]

    def published_generation(self) -> int:
        """The generation that devices see."""
        return self.signed("timestamp.json")["meta"]["snapshot.json"]["version"]

    def published_roles(self) -> dict[str, str]:
        """The published file of each targets role, by the role's name."""
        meta = self.signed(f"{self.published_generation()}.snapshot.json")["meta"]
        return {file.removesuffix(".json"): f"{entry['version']}.{file}" for file, entry in meta.items()}

    def listed(self) -> set[str]:
        """The names of all targets, in all roles."""
        return {name for file in self.published_roles().values() for name in self.signed(file)["targets"]}

    def device(self) -> Device:
        """A new device without state."""
        return Device(self.endpoints, Path(tempfile.mkdtemp(prefix="device-", dir=self.scratch)))

    def tuf_js_device(self) -> TufJsDevice:
        """A new device with another client."""
        return TufJsDevice(self.endpoints, Path(tempfile.mkdtemp(prefix="tuf-js-", dir=self.scratch)))

    def tufline(self, command: str, *arguments: object, operator: bool = False, **options) -> subprocess.CompletedProcess:
        """Runs a command on this repository."""
        return run(command, *arguments, *self.connection(operator), **options)

    def wait_published(self, expected: Expected, seconds: float | None = None, device: Device | None = None) -> None:
        """Waits until a device sees exactly this of these names: `device`, or a new one."""
        device = device or self.device()

        def seen() -> bool:
            found = device.find(expected)
            wrong = [name for name in expected if found[name] != expected[name]]
            assert not wrong, f"{len(wrong)} of {len(found)} differ, such as {wrong[0]}: {found[wrong[0]]}"
            return True

        until("published", seen, seconds or self.patience)

    def wait_tough(self, name: str, digest: str | None) -> None:
        """Waits until the `tough` client, which is inside `tufline wait`, sees this. Then downloads
        from the URL that tough would use."""
        goal = ["--gone"] if digest is None else ["--sha256", digest]
        done = self.tufline("wait", name, *goal, "--json", "--timeout", int(self.patience))
        assert done.returncode == DONE, (done.stdout, done.stderr)
        if digest is not None:
            # https://docs.rs/tough: with consistent snapshots the digest is in front of the whole
            # name.
            url = self.endpoints["targets_url"] + urllib.parse.quote(f"{digest}.{name}")
            with urllib.request.urlopen(url) as answer:
                assert sha256(answer.read()) == digest

    def unique(self, what: str) -> str:
        """A folder for the names of one test."""
        return f"{what}-{os.getpid()}-{next(self._numbers)}"
