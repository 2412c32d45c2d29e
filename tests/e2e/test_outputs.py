"""Nobody reads the answer, or it can't be written. Every command still ends properly, and none
stops half-way."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .device import sha256
from .folder import FolderForm
from .form import DONE, FAILED, MISUSED, TIMED_OUT, TUFLINE, run
from .holders import Holder

# Commands that keep running, or are for AWS only. test_surroundings tests `local`.
ELSEWHERE = {"local", "serve", "init"}


class Bench:
    """A repository, a root, and the other arguments of commands."""

    def __init__(self, folder: FolderForm, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch
        self.count = 0
        self.holder, self.other = Holder("alice", scratch), Holder("bob", scratch)
        self.file = scratch / "fw.bin"
        self.file.write_bytes(b"firmware")
        self.place = ["--endpoints", folder.data / "endpoints.json"]
        self.root = scratch / "1.root.json"
        self.done("root", "init", *self.holder.key, "--threshold", 1, "--data", scratch / "ceremony", "--out", self.root)
        self.done("delegation", "create", "vendor", "--paths", "vendor/*", *self.holder.key, *self.place)
        self.party = scratch / "party"
        self.party.mkdir()
        (self.party / "vendor").mkdir()
        (self.party / "vendor" / "a").write_bytes(b"a")

    def done(self, *arguments: object) -> None:
        done = run(*arguments)
        assert done.returncode == DONE, (arguments, done.stderr)

    def new(self, name: str = "") -> Path:
        """A path where nothing exists yet."""
        self.count += 1
        return self.scratch / f"new-{self.count}{name}"

    def new_folder(self) -> Path:
        path = self.new()
        path.mkdir()
        return path

    def copy(self) -> Path:
        """A copy of the unsigned root."""
        path = self.new_folder()
        (path / "1.root.json").write_bytes(self.root.read_bytes())
        return path / "1.root.json"


# Each command that answers, with its arguments. Commands that sign first show what they sign.
Arguments = Callable[[Bench], list[object]]
COMMANDS: dict[str, Arguments] = {
    "demo": lambda bench: ["--exit"],
    "upload": lambda bench: [bench.file, "--prefix", f"up/{bench.new().name}", *bench.place],
    "wait": lambda bench: ["there", *bench.place],
    "status": lambda bench: bench.place,
    "status --json": lambda bench: bench.place,
    "reconcile": lambda bench: bench.place,
    "accept-removals": lambda bench: bench.place,
    "chunk": lambda bench: bench.place,
    "mirror": lambda bench: [bench.new(), *bench.place],
    "import": lambda bench: [
        bench.folder.data / "repository", "--root", bench.folder.data / "root.json", "--targets", bench.folder.data, "--data", bench.new(),
        "--out", bench.new_folder() / "2.root.json",
    ],
    "root keygen": lambda bench: ["--out", bench.new(".pem"), "--passphrase-file", bench.holder.passphrase_file],
    "root key-id": lambda bench: bench.holder.key,
    "root init": lambda bench: [*bench.holder.key, "--threshold", 1, "--data", bench.new(), "--out", bench.new(".json")],
    "root next": lambda bench: ["--out", bench.new_folder() / "2.root.json", "--data", bench.folder.data],
    "root add-key": lambda bench: [bench.copy(), *bench.other.key],
    "root set-threshold": lambda bench: [bench.copy(), "1"],
    "root set-expiry": lambda bench: [bench.copy(), "100 days"],
    "root show": lambda bench: [bench.root],
    "root merge": lambda bench: [bench.copy(), bench.copy()],
    "root withdraw": lambda bench: ["--data", bench.folder.data],
    "key rotate": lambda bench: ["timestamp", "--data", bench.folder.data],
    "doctor": lambda bench: bench.place,
    "delegation show": lambda bench: bench.place,
    "delegation create": lambda bench: [bench.new().name, "--paths", f"{bench.new().name}/*", *bench.holder.key, *bench.place],
}
SIGNS: dict[str, Arguments] = {
    "root sign": lambda bench: [bench.copy(), *bench.holder.signing],
    "delegation sign": lambda bench: [bench.new_folder() / "vendor.json", "--targets", bench.party, *bench.holder.signing],
}
# The same code prints their answers; testing them would need signatures of others.
ALIKE = {
    "root publish": "root init", "root remove-key": "root add-key", "delegation add-key": "delegation create", "delegation remove-key": "delegation create",
    "delegation remove": "delegation create", "targets next": "root next", "targets sign": "delegation sign", "targets publish": "root next",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    scratch = tmp_path_factory.mktemp("outputs")
    folder = FolderForm(scratch, config="chunks = true\n").start()
    folder.put("there", b"x")
    folder.wait_published({"there": sha256(b"x")})
    yield Bench(folder, scratch)
    folder.close()


def to(output: int, command: str, arguments: list[object], errors: int = subprocess.PIPE) -> subprocess.CompletedProcess:
    """Runs a command with these standard output and standard error."""
    words = [str(TUFLINE), *command.split(), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TUFLINE_", "AWS_", "RUST_LOG"))}
    return subprocess.run(words, stdout=output, stderr=errors, text=True, timeout=120, env=environment, cwd="/tmp")


@pytest.fixture
def full() -> Iterator[int]:
    """A disk without room."""
    file = os.open("/dev/full", os.O_WRONLY)
    yield file
    os.close(file)


@pytest.fixture
def closed() -> Iterator[int]:
    """A pipe whose reader has closed it."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_every_command_is_looked_at():
    """Every command in `--help` is in the tables above."""

    def commands(*above: str) -> Iterator[str]:
        text = run(*above, "--help").stdout
        _, _, listed = text.partition("\nCommands:\n")
        for name in re.findall(r"^  ([a-z-]+)  ", listed.partition("\n\n")[0], re.MULTILINE):
            if name != "help" and (above or name not in ELSEWHERE):
                below = list(commands(*above, name))
                yield from below or [" ".join((*above, name))]

    assert set(commands()) == {*(command.removesuffix(" --json") for command in COMMANDS), *SIGNS, *ALIKE}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_room_for_the_answer(bench: Bench, full: int, command: str):
    done = to(full, command, COMMANDS[command](bench))
    assert done.returncode == FAILED, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("tufline: the answer could not be written: No space left on device"), done.stderr
    assert "panic" not in done.stderr
    if command == "upload":
        assert "the upload is done: `tufline wait NAME`" in lines[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_reads_the_answer(bench: Bench, closed: int, command: str):
    done = to(closed, command, COMMANDS[command](bench))
    assert (done.returncode, done.stderr) == (DONE, ""), command


@pytest.mark.parametrize("command", SIGNS)
def test_nobody_signs_what_nobody_saw(bench: Bench, full: int, closed: int, command: str):
    for output in (full, closed):
        arguments = SIGNS[command](bench)
        file = Path(arguments[0])
        before = file.read_bytes() if file.exists() else None
        done = to(output, command, arguments)
        [line] = done.stderr.splitlines()
        assert done.returncode == FAILED and "so nothing was signed" in line, done.stderr
        assert (file.read_bytes() if file.exists() else None) == before
    done = to(subprocess.DEVNULL, command, SIGNS[command](bench))
    assert done.returncode == DONE, done.stderr


@pytest.mark.parametrize("help", ["--help", "-h", "--version", "help", "upload --help", "root sign --help", "root help sign"])
def test_help(full: int, closed: int, help: str):
    assert to(full, help, []).returncode == FAILED
    done = to(closed, help, [])
    assert (done.returncode, done.stderr) == (DONE, "")


def test_work_goes_on_to_its_end(bench: Bench, closed: int, full: int):
    """The answer is lost, but the work is done."""
    for number, output in enumerate((closed, full)):
        name = f"whole/{number}"
        to(output, "upload", [bench.file, "--name", name, "--wait", *bench.place])
        assert run("wait", name, *bench.place).returncode == DONE
    copy = bench.new()
    to(full, "mirror", [copy, *bench.place])
    assert json.loads((copy / "metadata" / "timestamp.json").read_text())["signed"]["version"] > 0


def test_errors_that_nobody_sees(bench: Bench, full: int, closed: int):
    for errors in (full, closed):
        for command, arguments, code in (
            ("wait", ["never", "--timeout", 0, *bench.place], TIMED_OUT),
            ("root show", ["/nowhere"], FAILED),
            ("--nonsense", [], MISUSED),
            ("status", bench.place, DONE),
        ):
            assert to(subprocess.DEVNULL, command, arguments, errors).returncode == code


def test_a_closed_output_is_like_none(bench: Bench):
    """`>&-` and `2>&-`: nothing is written into a file that gets the free number."""
    command = f"'{TUFLINE}' status --endpoints '{bench.folder.data}/endpoints.json' >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd="/tmp").returncode == DONE
