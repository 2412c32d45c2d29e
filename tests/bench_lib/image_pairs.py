"""Pairs of firmware-like files: an older and a newer release of the same thing, made of Debian's packages.

OLD is what the suite `bookworm` has, NEW what its updates and security updates make of it. Both
come from the mirrors that this machine's apt is set up with, so they are what these have on that
day: `sources.json` beside the pairs says which packages they are of.

Images are made as image builders make them: each release has the same UUID, hash seed and times,
and its files in the order of their names. It needs root.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_lib import Refusal

# Debian's packages, each with a program that it brings.
PROGRAMS = {"mmdebstrap": "mmdebstrap", "squashfs-tools": "mksquashfs", "e2fsprogs": "mke2fs"}

# Not everybody's has the folders of the administrator's programs.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

SUITES = {"old": ("bookworm",), "new": ("bookworm", "bookworm-updates", "bookworm-security")}

# What a gateway has: a network, a way in, scripts, certificates.
PACKAGES = (
    "systemd systemd-sysv udev dbus openssh-server openssl ca-certificates nftables iproute2 ifupdown isc-dhcp-client curl "
    "python3-minimal sqlite3 wpasupplicant"
).split()
# Images for devices have neither manuals nor translations.
LEFT_OUT = [f"/usr/share/{folder}/*" for folder in ("man", "doc", "info", "locale", "i18n", "lintian")]
# Nor what only developers and desktops use.
REMOVED = ("usr/lib/udev/hwdb.*", "usr/share/perl", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/x86_64-linux-gnu/gconv")
# What is made anew in each build, and by each device for itself.
OF_A_DEVICE = ("etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/systemd/catalog/database", "var/cache/debconf/*-old")

# A kernel's modules that a gateway has.
MODULES = ("crypto", "drivers/mmc", "drivers/usb", "fs", "lib", "net")

# What is newer than that has this time: bookworm's release.
EPOCH = 1_686_355_200
UUID, HASH_SEED = "6a5f4b36-0000-4000-8000-000000000001", "6a5f4b36-0000-4000-8000-000000000002"
# A partition is larger than the files in it.
ROOM = 1.2


@dataclass(frozen=True)
class Pair:
    """An image in two releases."""

    name: str
    old: Path
    new: Path


def pairs(folder: Path) -> Iterator[Pair]:
    """The pairs in a folder that `make` has filled."""
    for new in sorted(folder.glob("*.new")):
        yield Pair(new.stem, new.with_suffix(".old"), new)


def make(folder: Path) -> dict:
    """Fills the folder, and answers what the pairs are of."""
    demand(PROGRAMS)
    folder.mkdir(parents=True, exist_ok=True)
    sources = {}
    # The order of a folder's files in an image is that of the disk: tmpfs keeps the order in which they came.
    with tempfile.TemporaryDirectory(prefix="tufline-images-", dir="/dev/shm") as scratch:
        for release, suites in SUITES.items():
            lines = [f"deb {mirror} {suite} main" for suite, mirror in mirrors(suites)]
            tree = Path(scratch) / release
            packages = root_file_system(Path(scratch) / f"{release}.tar", tree, lines)
            kernels = kernel(Path(scratch) / f"{release}-kernel", lines, folder, release)
            sources[release] = {"packages": packages, "kernels": kernels}
        trees = {release: Path(scratch) / release for release in SUITES}
        length = round(ROOM * max(map(disk, trees.values())) / 2**20) * 2**20
        for release, tree in trees.items():
            ext4(tree, folder / f"ext4.{release}", length)
            squashfs(tree, folder / f"squashfs.{release}")
    (folder / "sources.json").write_text(json.dumps(sources, indent=1, sort_keys=True))
    return sources


def demand(programs: dict[str, str]) -> None:
    """Refuses where Debian's packages with these programs are missing."""
    missing = [package for package, program in programs.items() if shutil.which(program, path=PATH) is None]
    if missing:
        raise Refusal(f"{' '.join(programs)} are needed: run `apt-get install {' '.join(missing)}` as root")


def mirrors(suites: Sequence[str]) -> list[tuple[str, str]]:
    """Where this machine's apt has them from."""
    listed = run("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages", "Component: main")
    known = dict(line.split() for line in listed.splitlines())
    missing = [suite for suite in suites if suite not in known]
    if missing:
        raise Refusal(f"apt on this machine has no {' '.join(missing)}: images are made of Debian's bookworm (see sources.list(5))")
    return [(suite, known[suite]) for suite in suites]


def root_file_system(packed: Path, tree: Path, lines: Sequence[str]) -> dict[str, str]:
    """Installs the packages, lays them into the folder `tree`, and answers their versions."""
    removed = " ".join(f'"$1"/{pattern}' for pattern in (*REMOVED, *OF_A_DEVICE))
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    options += ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--customize-hook=rm -rf {removed}"]
    run("mmdebstrap", "--quiet", *options, "bookworm", packed, *lines, env={"SOURCE_DATE_EPOCH": str(EPOCH)})
    tree.mkdir()
    # Devices' nodes aren't part of an image: the kernel makes them.
    kept = ["--exclude=./dev/*", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    run("tar", "--extract", "--file", packed, "--directory", tree, *kept)
    packed.unlink()
    status = (tree / "var/lib/dpkg/status").read_text()
    return dict(re.findall(r"^Package: (.*)\n(?:.+\n)*?Version: (.*)$", status, re.MULTILINE))


def disk(tree: Path) -> int:
    """What the files take in blocks of 4 KiB, and their inodes."""
    files = {status.st_ino: status.st_size for status in (path.lstat() for path in tree.rglob("*"))}
    return sum(-(-length // 4096) * 4096 + 256 for length in files.values())


def ext4(tree: Path, image: Path, length: int) -> None:
    """By mke2fs, in blocks of 4 KiB: by itself it takes 1 KiB for images of this size, in which RAUC
    finds no blocks of 4 KiB again."""
    image.unlink(missing_ok=True)
    fixed = f"hash_seed={HASH_SEED},lazy_itable_init=0,lazy_journal_init=0"
    options = ["-t", "ext4", "-q", "-b", "4096", "-m", "0", "-L", "root", "-U", UUID, "-E", fixed, "-d", tree]
    run("mke2fs", *options, image, f"{length // 1024}k", env={"E2FSPROGS_FAKE_TIME": str(EPOCH)})
    freeze(tree, image)


def freeze(tree: Path, image: Path) -> None:
    """Gives all inodes the same times of change and of access: mke2fs takes over the folder's."""
    names = ["/", *(f"/{path.relative_to(tree)}" for path in sorted(tree.rglob("*")))]
    fields = [f'set_inode_field "{name}" {field} @{EPOCH}' for name in names for field in ("ctime", "atime", "crtime")]
    fields += [f'set_inode_field "{name}" {field} 0' for name in names for field in ("ctime_extra", "atime_extra", "crtime_extra")]
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as commands:
        commands.write("\n".join([*fields, ""]))
        commands.flush()
        run("debugfs", "-w", "-f", commands.name, image, env={"E2FSPROGS_FAKE_TIME": str(EPOCH)})


def squashfs(tree: Path, image: Path) -> None:
    """By mksquashfs, with Zstandard, in blocks of 128 KiB as it does by default."""
    image.unlink(missing_ok=True)
    options = ["-comp", "zstd", "-noappend", "-no-progress", "-quiet", "-mkfs-time", str(EPOCH), "-all-time", str(EPOCH)]
    run("mksquashfs", tree, image, *options)


def kernel(scratch: Path, lines: Sequence[str], folder: Path, release: str) -> dict[str, str]:
    """Debian's kernels: as PCs take it, which is packed; the same unpacked; as boards take it, which
    isn't packed; and that with modules."""
    pc = unpack(scratch / "amd64", lines, "amd64", "linux-image-amd64")
    board = unpack(scratch / "arm64", lines, "arm64", "linux-image-arm64")
    packed = only(pc.tree, "boot/vmlinuz-*").read_bytes()
    (folder / f"kernel.{release}").write_bytes(packed)
    (folder / f"vmlinux.{release}").write_bytes(payload(packed))
    (folder / f"kernel-arm64.{release}").write_bytes(only(board.tree, "boot/vmlinuz-*").read_bytes())
    archive(board.tree, folder / f"kernel-tree.{release}")
    return {"amd64": pc.file, "arm64": board.file}


@dataclass(frozen=True)
class Unpacked:
    """A package's files, and its name with its version."""

    tree: Path
    file: str


def unpack(scratch: Path, lines: Sequence[str], architecture: str, meta: str) -> Unpacked:
    """The package that a meta package depends on, by an apt of its own."""
    for inner in ("lists/partial", "archives/partial", "etc", "debs", "tree"):
        (scratch / inner).mkdir(parents=True)
    (scratch / "etc/sources.list").write_text("\n".join([*lines, ""]))
    (scratch / "status").touch()
    places = {
        "Dir::Etc::SourceList": scratch / "etc/sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": scratch / "lists",
        "Dir::State::Status": scratch / "status",
        "Dir::Cache": scratch,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
    }
    options = [part for name, value in places.items() for part in ("-o", f"{name}={value}")]
    run("apt-get", *options, "-qq", "update")
    depends = run("apt-cache", *options, "depends", "--no-recommends", "--no-suggests", meta)
    package = re.search(r"Depends: (linux-image-\S+)", depends)[1]
    run("apt-get", *options, "-qq", "download", package, cwd=scratch / "debs")
    deb = only(scratch / "debs", "*.deb")
    run("dpkg-deb", "--extract", deb, scratch / "tree")
    return Unpacked(scratch / "tree", deb.stem)


def payload(image: bytes) -> bytes:
    """The kernel in a bzImage (Linux, Documentation/arch/x86/boot.rst: `setup_sects`,
    `payload_offset`, `payload_length`)."""
    begin = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    packed = image[begin : begin + int.from_bytes(image[0x24C:0x250], "little")]
    if not packed.startswith(b"\xfd7zXZ"):
        raise Refusal("Debian's kernel isn't packed with xz any more: teach image_pairs.py what it is packed with")
    return lzma.LZMADecompressor().decompress(packed)


def archive(tree: Path, file: Path) -> None:
    """A tar archive of a kernel with the modules that a gateway has, in the order of names."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime, info.uname, info.gname = min(info.mtime, EPOCH), "root", "root"
        return info

    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as out:
        for path in [only(tree, "boot/vmlinuz-*"), *(only(tree, f"lib/modules/*/kernel/{part}") for part in MODULES)]:
            out.add(path, re.sub(r"-?6[.][^/]*", "", str(path.relative_to(tree))), filter=plain)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def changed(sources: dict) -> list[str]:
    """The packages of the root file system that are others in the newer release."""
    old, new = (sources[release]["packages"] for release in ("old", "new"))
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def run(*command: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a command prints."""
    variables = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", **(env or {})}
    done = subprocess.run([str(part) for part in command], env=variables, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refusal(f"`{' '.join(map(str, command))}` failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
