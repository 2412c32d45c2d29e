"""Attacks by HTTP itself, and by slow answers."""

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..attack_clients import Outcome
from ..attack_server import Answer, Request, Scene, chunk, dripping, forever, head, raw, redirect, whole
from .bodies import ENDLESS
from .row import TAKEN, Play, World, add

HTTP = "HTTP"
GZIP = {"Content_Encoding": "gzip"}


def blocks(member: bytes) -> Answer:
    """Compressed data that never yields a byte."""
    return forever(head(**GZIP) + (gzip.compress(b"")[:10] if member != gzip.compress(b"") else b""), member * (65536 // len(member)))


EMPTY_BLOCK = struct.pack("<BHH", 0, 0, 0xFFFF)
BOMB = gzip.compress(b" " * (64 << 20))
COMPRESSED: dict[str, Answer] = {
    "a gzip bomb of 64 MiB": whole(BOMB, **GZIP),
    "endless empty gzip blocks": blocks(EMPTY_BLOCK),
    "endless empty gzip members": blocks(gzip.compress(b"")),
    "a gzip field without an end": forever(head(**GZIP) + b"\x1f\x8b\x08\x08\0\0\0\0\0\xff", ENDLESS),
}
for (title, reply), step in itertools.product(COMPRESSED.items(), ("timestamp", "target")):
    add(HTTP, f"{step}: {title}", step, lambda w, a=reply, s=step: w.answered(s, a), slow="empty" in title)
add(
    "control",
    "timestamp: compressed, where the client asks for it",
    "target",
    lambda w: w.answered("timestamp", gzipped(w.file("timestamp"))),
    expected=TAKEN,
)
add(HTTP, "timestamp: compressed, and cut", "timestamp", lambda w: w.answered("timestamp", whole(gzip.compress(w.file("timestamp"))[:-40], **GZIP)))
add(
    HTTP,
    "timestamp: of an encoding that nobody knows",
    "timestamp",
    lambda w: w.answered("timestamp", whole(zlib.compress(w.file("timestamp")), Content_Encoding="x")),
)


def gzipped(file: bytes) -> Answer:
    def answer(request: Request) -> Iterator[bytes]:
        accepts = "gzip" in {name.lower(): value for name, value in request.headers.items()}.get("accept-encoding", "")
        yield from whole(gzip.compress(file), **GZIP)(request) if accepts else whole(file)(request)

    return answer


def back(request: Request) -> str:
    return f"http://{request.host}/{request.scene.number}/{request.path}"


def other_host(request: Request) -> str:
    return back(request).replace("127.0.0.1", "localhost")


def moved(stage: str, status: str = "302 Found") -> Play:
    """Redirects to another host, which has the file."""

    def play(world: World) -> Scene:
        scene = world.honest()

        def answer(request: Request) -> Iterator[bytes]:
            if request.host.startswith("127.0.0.1"):
                yield from redirect(other_host, status)(request)
            else:
                yield from whole(world.file(stage))(request)

        scene.answers[world.path(stage)] = answer
        return scene

    return play


def keeps_its_secret(world: World, scene: Scene, folder: Path, outcome: Outcome) -> None:
    """Checks that the device sends its token to the configured server, and to no other."""
    has = {(request.host.partition(":")[0], "Bearer secret" in request.headers.values()) for request in scene.asked}
    assert has == {("127.0.0.1", True), ("localhost", False)}, has


for step in ("timestamp", "target"):
    for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent"):
        add(
            "control",
            f"{step}: moved to another host ({status[:3]}), which gets no token",
            "target",
            moved(step, status),
            expected=TAKEN,
            check=keeps_its_secret,
        )
    add(HTTP, f"{step}: moved in a circle", step, lambda w, s=step: w.answered(s, redirect(back)))
    add(HTTP, f"{step}: moved to a file of the device", step, lambda w, s=step: w.answered(s, redirect(lambda _: "file:///etc/passwd")))
    add(
        HTTP,
        f"{step}: moved, with an endless page",
        step,
        lambda w, s=step: w.answered(s, forever(head("302 Found", Location="/nowhere", Transfer_Encoding="chunked"), chunk(ENDLESS))),
        says=" ",
        slow=True,
    )
    add(
        HTTP,
        f"{step}: error 500, with an endless page",
        step,
        lambda w, s=step: w.answered(s, forever(head("500 No", Transfer_Encoding="chunked"), chunk(ENDLESS))),
        slow=True,
    )
    add(HTTP, f"{step}: endless fields", step, lambda w, s=step: w.answered(s, forever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000)), slow=True)
    add(HTTP, f"{step}: a field without an end", step, lambda w, s=step: w.answered(s, forever(b"HTTP/1.1 200 OK\r\nX: ", ENDLESS)), slow=True)
    add(
        HTTP,
        f"{step}: endless answers that announce another (103)",
        step,
        lambda w, s=step: w.answered(s, forever(b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100)),
        slow=True,
    )
    add(HTTP, f"{step}: no HTTP", step, lambda w, s=step: w.answered(s, raw(b"\x1b[2J\r\n\x00SSH-2.0\r\n\r\n")))
    add(
        HTTP,
        f"{step}: a status with escapes",
        step,
        lambda w, s=step: w.answered(s, raw(b"HTTP/1.1 500 \x1b[2J\x1b]0;owned\x07\r\nContent-Length: 0\r\n\r\n")),
    )
    add(HTTP, f"{step}: half of it as a part, for which nobody asked", step, lambda w, s=step: w.answered(s, part_of(w.file(s))))
    add("slow retrieval", f"{step}: no answer", step, lambda w, s=step: w.answered(s, dripping(b"", b"", 1)), slow=True)
    add(
        "slow retrieval",
        f"{step}: a byte of the head each second",
        step,
        lambda w, s=step: w.answered(s, dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x", 1)),
        slow=True,
    )
    add(
        "slow retrieval",
        f"{step}: a byte each second",
        step,
        lambda w, s=step: w.answered(s, dripping(head(Content_Length=len(w.file(s))), b"x", 1)),
        slow=True,
    )
    add(
        "slow retrieval",
        f"{step}: a byte each second of a chunk's extension",
        step,
        lambda w, s=step: w.answered(s, dripping(head(Transfer_Encoding="chunked") + b"5;x=", b"y", 1)),
        slow=True,
    )
    add(
        "slow retrieval",
        f"{step}: a compressed block without a byte each second",
        step,
        lambda w, s=step: w.answered(s, dripping(head(**GZIP) + gzip.compress(b"")[:10], EMPTY_BLOCK, 1)),
        slow=True,
    )
    add(
        "slow retrieval",
        f"{step}: an empty chunk's size with a zero more each second",
        step,
        lambda w, s=step: w.answered(s, dripping(head(Transfer_Encoding="chunked"), b"0", 1)),
        slow=True,
    )
    add(
        "endless data",
        f"{step}: a chunk's extension without an end",
        step,
        lambda w, s=step: w.answered(s, forever(head(Transfer_Encoding="chunked") + b"5;x=", ENDLESS)),
        slow=True,
    )
    add(
        "endless data",
        f"{step}: trailers without an end",
        step,
        lambda w, s=step: w.answered(s, forever(head(Transfer_Encoding="chunked") + chunk(w.file(s)[:-1]) + b"0\r\n", b"X: y\r\n" * 1000)),
        slow=True,
    )
add(HTTP, "root: there is no next one (404), with an endless page", "target", lambda w: endless_404(w), expected=TAKEN, slow=True)
add("control", "root: there is no next one, and it may not be said (403)", "target", lambda w: forbidden(w), expected=TAKEN)


def endless_404(world: World) -> Scene:
    return world_with(world, "metadata/3.root.json", forever(head("404 No", Transfer_Encoding="chunked"), chunk(ENDLESS)))


def forbidden(world: World) -> Scene:
    return world_with(world, "metadata/3.root.json", whole(b"", "403 No"))


def world_with(world: World, path: str, answer: Answer) -> Scene:
    scene = world.honest()
    scene.answers[path] = answer
    return scene


def part_of(file: bytes) -> Answer:
    half = len(file) // 2
    return whole(file[half:], "206 Partial Content", Content_Range=f"bytes {half}-{len(file) - 1}/{len(file)}")
