"""Packs (`GET /pack`) of a hostile server: one answer with everything that the server would answer
by name."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from zstandard import ZstdCompressor

if TYPE_CHECKING:
    from .attack_server import Request, Scene

# A pack's limits (`shared/pack/src/limits.rs`).
MOST_BYTES, MOST_ROOTS, MOST_TARGET = 4 << 20, 16, 16 << 10


def packed(request: "Request") -> Iterator[bytes]:
    """Answers with a pack. If the scene answers a document slowly, endlessly or with a redirect,
    the pack is answered in that way."""
    scene = request.scene
    files = dict(scene.files)
    for path, answer in scene.answers.items():
        body = answered(getattr(answer, "pieces", ()))
        if body is not None:
            files[path] = body
        elif path.startswith("metadata/"):
            yield from answer(request)
            return
        else:
            files.pop(path, None)
    files = {path: file for path, file in (files | scene.packed).items() if file is not None}
    pack = ZstdCompressor(write_checksum=True, write_content_size=True).compress(b"".join(entries(files, request.path)))
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(pack) + pack


def answered(pieces: tuple[bytes, ...]) -> bytes | None:
    """The body of an answer, if the answer is nothing more than a body."""
    head, end, body = b"".join(pieces).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not end or b"Content-Encoding" in head:
        return None
    if length := re.search(rb"Content-Length: (\d+)", head):
        return body if len(body) == int(length[1]) else None
    if b"Transfer-Encoding" in head:
        chunk = re.fullmatch(rb"[0-9a-f]+\r\n(.*)\r\n0\r\n\r\n", body, re.DOTALL)
        return chunk and chunk[1]
    return body


def entries(files: dict[str, bytes], query: str) -> Iterator[bytes]:
    """The entries of a pack: the roots after the device's own and the absence of a further one, all
    other documents, and targets if the device asks for some."""
    own = re.search(r"have=(\d+)\.root", query)
    version, left = int(own[1]) + 1, MOST_BYTES
    roots = [f"metadata/{number}.root.json" for number in range(version, version + MOST_ROOTS)]
    behind = next((number for number, path in enumerate(roots) if path not in files), MOST_ROOTS)
    if behind < MOST_ROOTS:
        yield b"a 0 %s\n" % roots[behind].removeprefix("metadata/").encode()
    documents = [path for path in files if path.startswith("metadata/") and not re.fullmatch(r"metadata/\d+\.root\.json", path)]
    targets = [path for path in files if path.startswith("targets/") and "files=" in query]
    for path in (*roots[:behind], *documents, *targets):
        kind, _, name = path.partition("/")
        file = files[path]
        name = quote(name, safe="/" if kind == "targets" else "")
        entry = b"%s %d %s\n" % (kind[:1].encode(), len(file), name.encode()) + file
        if len(entry) < left - 1000 and not (kind == "targets" and len(file) > MOST_TARGET):
            left -= len(entry)
            yield entry
