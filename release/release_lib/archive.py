"""Archives and checksums. The same files and time give the same bytes, whoever packs them, when and
where."""

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path

from bundle_lib import ARCHITECTURES, Refusal


def packed(folder: str, files: dict[str, tuple[bytes, int]], time: int) -> bytes:
    """A `.tar.gz` of `files`: by path, the bytes and the mode of each. All are below `folder`, have
    the time `time` in seconds since 1970, and belong to root."""
    refuse_zlib_ng()
    tar = io.BytesIO()
    # USTAR has no field that depends on the system.
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{path}" if folder else path)
            entry.size, entry.mode, entry.mtime = len(content), mode, time
            archive.addfile(entry, io.BytesIO(content))
    compressed = io.BytesIO()
    # GzipFile writes its header by itself. `gzip.compress` leaves it to zlib in some versions of
    # Python, and then the header names the operating system.
    with gzip.GzipFile(filename="", mode="wb", fileobj=compressed, compresslevel=9, mtime=0) as file:
        file.write(tar.getvalue())
    return compressed.getvalue()


def repacked(content: bytes, time: int) -> bytes:
    """An archive that npm packed, packed again: each Node.js compresses differently."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {entry.name: (archive.extractfile(entry).read(), entry.mode & 0o777) for entry in archive if entry.isfile()}
    return packed("", files, time)


def refuse_zlib_ng(version: str = zlib.ZLIB_RUNTIME_VERSION) -> None:
    """Refuses a Python with zlib-ng, which packs the same bytes differently from zlib."""
    if "zlib-ng" in version:
        raise Refusal("this Python compresses with zlib-ng, whose archives have other digests: run it with a Python that uses zlib, as Debian's does")


def sums(folder: Path) -> str:
    """The lines of `SHA256SUMS` for the files in a folder, for `sha256sum --check`."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def differences(one: str, other: str) -> list[str]:
    """The names of the files on which two `SHA256SUMS` disagree, or that only one of them has."""
    first, second = (dict(reversed(line.split("  ", 1)) for line in text.splitlines()) for text in (one, other))
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def of(text: str, architectures: list[str]) -> str:
    """The lines of a `SHA256SUMS` for what a build of these architectures makes. The npm package
    has the functions of all, so it belongs to a build of all."""
    others = [architecture for architecture in ARCHITECTURES if architecture not in architectures]
    left_out = [f"-{architecture}" for architecture in others] + ([".tgz"] if others else [])
    return "".join(line for line in text.splitlines(keepends=True) if not any(part in line for part in left_out))
