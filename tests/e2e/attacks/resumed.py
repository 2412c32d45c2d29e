"""Attacks on the resumption of a target's fetch."""

from collections.abc import Iterator

from ..attack_server import Request, Scene, chunk, dripping, head, raw
from .row import BIN, Play, World, add


def cut_with(etag: str | None, good: bool) -> Play:
    """Sends half of a target, or other bytes in its place. The device keeps them, since the rest
    may come later."""

    def play(world: World) -> Scene:
        file = world.file("target")
        half = file[: len(file) // 2] if good else b"!" * (len(file) // 2)
        fields = {"ETag": etag} if etag else {}

        def answer(request: Request) -> Iterator[bytes]:
            # Once: after that there is no answer at all.
            first = sum(asked.path == request.path for asked in request.scene.asked) == 1
            yield from raw(head(Content_Length=len(file), **fields), half)(request) if first else raw(b"")(request)

        return world.answered("target", answer)

    return play


GOES_ON = "cut, and gone on with"
add(GOES_ON, "target: a wrong half, without a tag", "target", cut_with(None, False))
add(GOES_ON, "target: a wrong half, with a tag", "target", cut_with('"x"', False))
add(GOES_ON, "target: the right half, with a tag of 30,000 letters, which the server refuses to hear", "target", cut_with(f'"{"x" * 30_000}"', True))
add(GOES_ON, "target: the right half, with a weak tag", "target", cut_with('W/"x"', True))


def drops(world: World) -> Scene:
    """Sends one byte for each connection."""
    file = world.file("target")

    def answer(request: Request) -> Iterator[bytes]:
        begin = int(request.headers.get("range", request.headers.get("Range", "bytes=0-"))[6:-1])
        fields = {"Content_Range": f"bytes {begin}-{len(file) - 1}/{len(file)}"} if begin else {}
        yield head("206 Part" if begin else "200 OK", Content_Length=len(file) - begin, **fields) + b"!"

    return world.answered("target", answer)


add(
    "slow retrieval",
    f"{BIN}: two thousand bytes a second, without an end",
    BIN,
    lambda w: w.answered(BIN, dripping(head(Transfer_Encoding="chunked"), chunk(b" " * 200), 0.1)),
    world="bare",
    slow=True,
)
add("slow retrieval", "target: a byte a connection", "target", drops, slow=True)
