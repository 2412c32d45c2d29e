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

# Where the command line is, as `tests/cloud` finds it.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TUFLINE = Path(os.environ.get("TUFLINE_BIN", TARGET / "release" / "tufline")).resolve()

# What the exit codes of `tufline` mean.
DONE, FAILED, MISUSED, REJECTED, TIMED_OUT, ATTENTION = 0, 1, 2, 3, 4, 5

# The names that a test expects, each with the SHA-256 of its bytes, or `None` where there must be no such target.
Expected = Mapping[str, str | None]


def run(*arguments: object, variables: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    """Runs `tufline` to its end, away from the caller's configuration, with these environment variables."""
    mine = ("TUFLINE_", "AWS_", "RUST_LOG")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment |= variables or {}
    return subprocess.run(
        [str(TUFLINE), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300, **options
    )


def json_lines(done: subprocess.CompletedProcess) -> list[dict]:
    """What a command said under `--json`."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line_error(done: subprocess.CompletedProcess) -> str:
    """The error of a command that failed as it should: in one line, with exit code 1."""
    assert done.returncode == FAILED, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tufline: "), done.stderr
    return lines[0]


class Form(ABC):
    """A running repository. Tests share it, so each uses names of its own."""

    # "folder" or "cloud".
    kind: str
    endpoints: dict
    # How long a small upload may take to be published, in seconds: what a busy machine needs, not what is usual.
    patience: float = 60.0

    _numbers = itertools.count(1)

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    # Build systems

    @abstractmethod
    def put(self, name: str, data: bytes, custom: str | None = None) -> None:
        """Uploads; `custom` is the text of the custom metadata. When this returns, the upload is acknowledged."""

    @abstractmethod
    def put_file(self, name: str, path: Path) -> None:
        """Uploads a file as large ones are uploaded: in parts, each with its own checksum, or written in place."""

    @abstractmethod
    def deliver(self, role: str, data: bytes) -> None:
        """Drops a document that another party signed."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Takes an upload away."""

    @abstractmethod
    def place(self, name: str) -> str:
        """Where an upload is, as events say it."""

    # What came of it

    @abstractmethod
    def events(self) -> list[dict]:
        """All events since the repository began (or, on AWS, since the tests did), in the order in which they came."""

    @abstractmethod
    def blobs(self) -> set[str]:
        """The digests of all stored blobs."""

    @abstractmethod
    def manifests(self, after: int = 0) -> list[dict]:
        """The manifests of all generations above `after`, oldest first."""

    @abstractmethod
    def metadata_contents(self) -> dict[str, int]:
        """How many contents each metadata file ever had."""

    @abstractmethod
    def connection(self, operator: bool) -> list[object]:
        """The arguments by which a command finds this repository, as an uploader or as an operator."""

    def generation(self) -> int:
        """The newest generation, published or not."""
        manifests = self.manifests()
        return manifests[-1]["generation"] if manifests else 0

    def events_about(self, names: Iterable[str], kind: str) -> list[dict]:
        """The details of all events of `kind` about uploads of these names."""
        names = set(names)
        return [event["detail"] for event in self.events() if event["detail-type"] == kind and event["detail"].get("name") in names]

    def told(self, names: Iterable[str]) -> dict[str, list[dict]]:
        """For each name, what `Targets Published` events said of it."""
        told: dict[str, list[dict]] = {name: [] for name in names}
        for event in self.events():
            if event["detail-type"] == "Targets Published":
                for target in event["detail"]["targets"]:
                    if target["name"] in told:
                        told[target["name"]].append(target)
        return told

    def signed(self, file: str) -> dict:
        """The signed part of a metadata file, as everybody may read it."""
        return json.loads(ask(f"{self.endpoints['metadata_url']}{file}").body)["signed"]

    def published_generation(self) -> int:
        """The generation that devices see."""
        return self.signed("timestamp.json")["meta"]["snapshot.json"]["version"]

    def published_roles(self) -> dict[str, str]:
        """The file of each targets role that is published, by the role's name."""
        meta = self.signed(f"{self.published_generation()}.snapshot.json")["meta"]
        return {file.removesuffix(".json"): f"{entry['version']}.{file}" for file, entry in meta.items()}

    def listed(self) -> set[str]:
        """The names of all targets, in whatever roles they are."""
        return {name for file in self.published_roles().values() for name in self.signed(file)["targets"]}

    def device(self) -> Device:
        """A new device, fresh from the factory."""
        return Device(self.endpoints, Path(tempfile.mkdtemp(prefix="device-", dir=self.scratch)))

    def tuf_js_device(self) -> TufJsDevice:
        """A new device with another client."""
        return TufJsDevice(self.endpoints, Path(tempfile.mkdtemp(prefix="tuf-js-", dir=self.scratch)))

    def tufline(self, command: str, *arguments: object, operator: bool = False, **options) -> subprocess.CompletedProcess:
        """Runs a command on this repository."""
        return run(command, *arguments, *self.connection(operator), **options)

    def wait_published(self, expected: Expected, seconds: float | None = None, device: Device | None = None) -> None:
        """Waits until a device sees exactly this of these names. The device is a new one unless given."""
        device = device or self.device()

        def seen() -> bool:
            found = device.find(expected)
            wrong = [name for name in expected if found[name] != expected[name]]
            assert not wrong, f"{len(wrong)} of {len(found)} differ, such as {wrong[0]}: {found[wrong[0]]}"
            return True

        until("published", seen, seconds or self.patience)

    def wait_tough(self, name: str, digest: str | None) -> None:
        """Waits until the `tough` client, which is inside `tufline wait`, sees this. Then downloads from where it would."""
        goal = ["--gone"] if digest is None else ["--sha256", digest]
        done = self.tufline("wait", name, *goal, "--json", "--timeout", int(self.patience))
        assert done.returncode == DONE, (done.stdout, done.stderr)
        if digest is not None:
            # https://docs.rs/tough: with consistent snapshots the digest stands before the whole name.
            url = self.endpoints["targets_url"] + urllib.parse.quote(f"{digest}.{name}")
            with urllib.request.urlopen(url) as answer:
                assert sha256(answer.read()) == digest

    def unique(self, what: str) -> str:
        """A folder for the names of one test."""
        return f"{what}-{os.getpid()}-{next(self._numbers)}"
