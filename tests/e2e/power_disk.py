"""A disk that forgets what wasn't synced: a file system in memory (FUSE) that records what a
program does. From the record it derives what a power failure may leave.

The model is what POSIX promises, and no more. Bytes of a file are durable after fsync(2) or
fdatasync(2) of that file. Names (a new file, a rename, a removal) are durable after fsync(2) of
their folder (Linux, fsync(2), "DESCRIPTION"). Until then, each change may be there or not,
independently of the others, and a write may be there in part, or as a gap without its bytes. A
rename is one step, as on all file systems with a journal or a log.

    python -m e2e.power_disk MOUNTPOINT FOLDER LOG

begins with the files of FOLDER, and writes the log when it is unmounted.
"""

import contextlib
import errno
import itertools
import os
import pickle
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .polling import until

TESTS = Path(__file__).resolve().parents[1]
ROOT = 1
# The unit in which a disk writes, in bytes.
BLOCK = 512

# A program's step. For files: ("write", file, offset, bytes), ("length", file, bytes), ("sync",
# file). For names: ("name", folder, name, what), ("rename", folder, old, folder, new, what),
# ("remove", folder, name), ("sync names", folder).
Step = tuple


@dataclass
class Contents:
    """Files and folders by number; the first folder is the top."""

    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})

    @classmethod
    def read(cls, folder: Path) -> "Contents":
        contents, numbers = cls(), itertools.count(ROOT + 1)

        def fill(number: int, folder: Path) -> None:
            for path in sorted(folder.iterdir()):
                child = contents.folders[number][path.name] = next(numbers)
                if path.is_dir():
                    contents.folders[child] = {}
                    fill(child, path)
                else:
                    contents.files[child] = path.read_bytes()

        fill(ROOT, folder)
        return contents

    def copy(self) -> "Contents":
        return Contents(dict(self.files), {number: dict(names) for number, names in self.folders.items()})

    def change(self, step: Step) -> None:
        match step:
            case ("write", file, offset, data):
                old = self.files.get(file, b"").ljust(offset, b"\0")
                self.files[file] = old[:offset] + data + old[offset + len(data) :]
            case ("length", file, length):
                self.files[file] = self.files.get(file, b"")[:length].ljust(length, b"\0")
            case ("name", folder, name, what):
                self.folders[folder][name] = what
            case ("rename", folder, old, into, new, what):
                if self.folders[folder].get(old) == what:
                    del self.folders[folder][old]
                self.folders[into][new] = what
            case ("remove", folder, name):
                self.folders[folder].pop(name, None)

    def paths(self) -> dict[str, bytes]:
        """The reachable files, by path."""

        def below(number: int, prefix: str) -> Iterator[tuple[str, bytes]]:
            for name, child in self.folders[number].items():
                if child in self.folders:
                    yield from below(child, f"{prefix}{name}/")
                else:
                    yield f"{prefix}{name}", self.files.get(child, b"")

        return dict(below(ROOT, ""))


@dataclass(frozen=True)
class Cut:
    """What is on the disk after a power failure."""

    # The number of completed steps.
    after: int
    step: Step
    how: str
    files: dict[str, bytes]

    def described(self) -> str:
        shown = tuple(part if not isinstance(part, bytes) else f"{len(part)} bytes" for part in self.step)
        return f"after step {self.after}, {shown}, {self.how}"

    def lay_out(self, folder: Path) -> None:
        for path, data in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


HOW = ("nothing else is there", "all is there", "all names are there", "all names and lengths are there", "some is there", "other is there")


def cuts(contents: Contents, log: list[Step], seed: object = 0) -> Iterator[Cut]:
    """What a power failure after each step may leave, without duplicates."""
    # What is durable; and the writes and names since then.
    kept, writes, names = contents.copy(), [], []
    before: frozenset = frozenset()
    for after, step in enumerate([("begin",), *log]):
        match step:
            case ("write" | "length", *_):
                writes.append(step)
            case ("sync", file):
                for write in (write for write in writes if write[1] == file):
                    kept.change(write)
                writes = [write for write in writes if write[1] != file]
            case ("name", _, _, what, "folder"):
                names.append(step[:4])
                kept.folders[what] = {}
            case ("name" | "rename" | "remove", *_):
                names.append(step)
            case ("sync names", folder):
                for name in (name for name in names if folder in _folders(name)):
                    kept.change(name)
                names = [name for name in names if folder not in _folders(name)]
        seen = set()
        for how in HOW:
            state = kept.copy()
            for change in _left(how, names, writes, random.Random(f"{seed} {after} {how}")):
                state.change(change)
            files = state.paths()
            key = frozenset(files.items())
            if key not in seen | before:
                yield Cut(after, step, how, files)
            seen.add(key)
        before = frozenset(seen)


def _folders(step: Step) -> tuple[int, ...]:
    return (step[1], step[3]) if step[0] == "rename" else (step[1],)


def _left(how: str, names: list[Step], writes: list[Step], chance: random.Random) -> list[Step]:
    """Which of the unsynced changes are there, and how much of each."""
    match how:
        case "nothing else is there":
            return []
        case "all is there":
            return names + writes
        case "all names are there":
            return names
        case "all names and lengths are there":
            return names + [_blank(write) for write in writes]
    left = [name for name in names if chance.random() < 0.5]
    for write in writes:
        match chance.choice(["none", "blank", "torn", "whole"]):
            case "blank":
                left.append(_blank(write))
            case "torn" if write[0] == "write":
                _, file, offset, data = write
                whole = chance.randrange(len(data) + 1) // BLOCK * BLOCK
                left += [_blank(write), ("write", file, offset, data[:whole])]
            case "whole":
                left.append(write)
    return left


def _blank(write: Step) -> Step:
    """A write with zeros in place of its bytes."""
    return ("write", write[1], write[2], bytes(len(write[3]))) if write[0] == "write" else write


@contextlib.contextmanager
def recorded(begin: Path, scratch: Path) -> Iterator[tuple[Path, list[Step]]]:
    """A disk with the files of `begin`, mounted during the block. After the block the list has the
    steps that were recorded."""
    mountpoint, file, steps = scratch / "disk", scratch / "log", []
    mountpoint.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "e2e.power_disk", str(mountpoint), str(begin), str(file)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            until("mounted", lambda: mountpoint.is_mount() or process.poll() is not None)
            yield mountpoint, steps
        finally:
            unmount = ["fusermount3", "-u"] if shutil.which("fusermount3") else ["umount"]
            subprocess.run([*unmount, str(mountpoint)], check=True)
    steps += pickle.loads(file.read_bytes())


def why_not() -> str | None:
    """Why such a disk can't be mounted here, or `None`."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse isn't there, or may not be used"
    try:
        import mfusepy  # noqa: F401
    except OSError as error:
        return f"libfuse is missing: {error}"
    return None


def main() -> None:
    import mfusepy

    class Disk(mfusepy.Operations):
        """The file system. The kernel makes one call at a time. A file's handle is its number,
        which stays the same over renames."""

        use_ns = True

        def __init__(self, contents: Contents, log: list[Step]) -> None:
            self.contents, self.log = contents, log
            self.numbers = itertools.count(max([*contents.files, *contents.folders]) + 1)

        def _do(self, *step: object) -> None:
            self.log.append(step)
            self.contents.change(step)

        def _find(self, path: str) -> int:
            number = ROOT
            for name in filter(None, path.split("/")):
                number = self.contents.folders.get(number, {}).get(name, 0)
            if not number:
                raise mfusepy.FuseOSError(errno.ENOENT)
            return number

        def _place(self, path: str) -> tuple[int, str]:
            folder, _, name = path.rpartition("/")
            return self._find(folder), name

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            number = self._find(path) if fh is None else fh
            if number in self.contents.folders:
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": len(self.contents.files[number])}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *self.contents.folders[self._find(path)]]

        def open(self, path: str, flags: int) -> int:
            return self._find(path)

        def create(self, path: str, mode: int, flags: int | None = None) -> int:
            number = next(self.numbers)
            self.contents.files[number] = b""
            self._do("name", *self._place(path), number)
            return number

        def mkdir(self, path: str, mode: int) -> int:
            number = next(self.numbers)
            self.contents.folders[number] = {}
            self.log.append(("name", *self._place(path), number, "folder"))
            self.contents.change(self.log[-1][:4])
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return self.contents.files[fh][offset : offset + size]

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            self._do("write", fh, offset, bytes(data))
            return len(data)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            self._do("length", self._find(path) if fh is None else fh, length)
            return 0

        def rename(self, old: str, new: str) -> int:
            self._do("rename", *self._place(old), *self._place(new), self._find(old))
            return 0

        def unlink(self, path: str) -> int:
            self._do("remove", *self._place(path))
            return 0

        def rmdir(self, path: str) -> int:
            self._do("remove", *self._place(path))
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self._do("sync", fh)
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            self._do("sync names", self._find(path))
            return 0

        def chmod(self, path: str, mode: int) -> int:
            return 0

    mountpoint, begin, file = sys.argv[1:]
    log: list[Step] = []
    # With `hard_remove`, a file that is removed while open isn't kept under another name: its
    # handle still works.
    mfusepy.FUSE(Disk(Contents.read(Path(begin)), log), mountpoint, foreground=True, nothreads=True, hard_remove=True)
    Path(file).write_bytes(pickle.dumps(log))


if __name__ == "__main__":
    main()
