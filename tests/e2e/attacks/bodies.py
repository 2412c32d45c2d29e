"""Endless data, truncation, and bodies that are no metadata."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

from ..attack_clients import Outcome
from ..attack_server import Answer, Scene, chunk, chunked, forever, head, raw
from .forged import tampered
from .row import BIN, STAGES, TAKEN, Play, World, add

ENDLESS = b"x" * (1 << 16)
STREAMS: dict[str, Answer] = {
    "endless, in chunks": forever(head(Transfer_Encoding="chunked"), chunk(ENDLESS)),
    "endless, of a length that is said": forever(head(Content_Length=1 << 62), ENDLESS),
    "endless, until the connection ends": forever(head(), ENDLESS),
    "endless white space": forever(head(), b" " * (1 << 16)),
}
for (title, reply), step in itertools.product(STREAMS.items(), STAGES):
    if title == "endless, in chunks" or step in ("timestamp", BIN, "target"):
        add("endless data", f"{step}: {title}", step, lambda w, a=reply, s=step: w.answered(s, a), world="bare")


def cut(stage: str, part: float, answer: Callable[[bytes, int], Answer]) -> Play:
    def play(world: World) -> Scene:
        file = world.file(stage)
        kept = max(1, min(len(file) - 1, int(len(file) * part)))
        return world.answered(stage, answer(file[:kept], len(file)))

    return play


def is_modest(world: World, scene: Scene, folder: Path, outcome: Outcome) -> None:
    """Checks that the device gives up when it makes no progress: it asks at most four times, with
    `tries = 2` and a stored part."""
    times = sum(request.path == world.path("target") for request in scene.asked)
    assert times <= 4, f"it asks {times} times for a target of which the same part comes each time"


for step, part in itertools.product(STAGES, (0, 0.5, 1)):
    where = {0: "its first byte", 0.5: "half", 1: "all but its last byte"}[part]
    cut_short = cut(step, part, lambda kept, _: chunked(kept))
    add("truncated", f"{step}: {where}, as if that were all", step, cut_short, world="bare", slow=step == "target", check=is_modest)
for step in ("timestamp", "target"):
    lost = cut(step, 0.5, lambda kept, length: raw(head(Content_Length=length), kept))
    add("truncated", f"{step}: half, then the connection breaks", step, lost, slow=step == "target", check=is_modest)

PAGE = b"<!DOCTYPE html><html><body><form action=/login>Welcome to the hotel's network</form></body></html>"
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
BODIES: dict[str, bytes] = {
    "a page (captive portal)": PAGE,
    "nothing": b"",
    "`null`": b"null",
    "a list": b"[]",
    "too deep": b"[" * 15_000,
    "not UTF-8": b'{"signed":"\xff\xfe"}',
    "a lone surrogate": b'{"signed":{"_type":"\\ud800"},"signatures":[]}',
    "a number of 10,000 digits": b'{"signed":{"version":' + b"9" * 10_000 + b'},"signatures":[]}',
    "`NaN`": b'{"signed":{"version":NaN},"signatures":[]}',
    "a number beyond all": b'{"signed":{"version":1e99999},"signatures":[]}',
}
for (title, wrong), step in itertools.product(BODIES.items(), ("root", "timestamp", BIN)):
    if step == "timestamp" or title in ("a page (captive portal)", "too deep", "nothing"):
        add("malformed", f"{step}: {title}", step, lambda w, b=wrong, s=step: w.changed(s, b), world="bare")
add("malformed", "target: a page (captive portal)", "target", lambda w: w.changed("target", PAGE))
add("malformed", f"{BIN}: deep, of 1 MB", BIN, lambda w: w.changed(BIN, DEEP), world="bare")

# A length close to the longest document that our device reads, 2 MB: it takes the most memory.
MOST = 1_999_000


def repeated(piece: bytes, first: bytes = b"[", last: bytes = b"0]") -> bytes:
    return first + piece * ((MOST - len(first) - len(last)) // len(piece)) + last


def numbered(piece: bytes, first: bytes, last: bytes) -> bytes:
    count = (MOST - len(first) - len(last)) // (len(piece) + 5)
    return first + b",".join(piece % number for number in range(count)) + last


BEGIN = b'{"signatures":[],"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"expires":"2999-01-01T00:00:00Z",'
SIGNED = BEGIN + b'"targets":{'
DELEGATED = SIGNED + b'},"delegations":{"roles":[],"keys":{'
CUSTOM = SIGNED + b'"a":{"length":1,"hashes":{"sha256":"00"},"custom":['
BOMBS = {
    **{
        f"a list of {title}": repeated(piece)
        for title, piece in {
            "numbers": b"0,",
            "lists": b"[],",
            "objects": b"{},",
            "strings": b'"",',
            "lists of a number": b"[0],",
            "lists in lists": b"[" * 99 + b"]" * 99 + b",",
            "objects of a member": b'{"":0},',
        }.items()
    },
    "an object of 200,000 members": numbered(b'"%x":0', b"{", b"}"),
    "targets without end": numbered(b'"%x":{"length":1,"hashes":{"":""}}', SIGNED, b"}}}"),
    "keys without end": numbered(b'"%x":{"keytype":"","scheme":""}', DELEGATED, b"}}}}"),
    "custom metadata without end": repeated(b'{"":0},', CUSTOM, b"0]}}}}"),
}
for title, bomb in BOMBS.items():
    add("malformed", f"{BIN}: {title}, of 2 MB", BIN, lambda w, b=bomb: w.changed(BIN, b), world="bare")
    if title.startswith(("a list of numbers", "a list of objects of")):
        add("malformed", f"snapshot: {title}, of 2 MB", "snapshot", lambda w, b=bomb: w.changed("snapshot", b), world="bare")
add("malformed", f"{BIN}: larger than any may be", BIN, lambda w: w.changed(BIN, w.file(BIN) + b" " * 5_000_000), world="bare")
add("malformed", "timestamp: larger than any may be", "timestamp", lambda w: w.changed("timestamp", w.file("timestamp") + b" " * 16_384))
add("malformed", "root: larger than any may be", "root", lambda w: w.changed("root", w.file("root") + b" " * 512_000))
add("malformed", "timestamp: followed by another document", "timestamp", lambda w: w.changed("timestamp", w.file("timestamp") * 2))
add("malformed", "timestamp: after a byte order mark", "timestamp", lambda w: w.changed("timestamp", b"\xef\xbb\xbf" + w.file("timestamp")))


def twice(world: World, good_first: bool) -> Scene:
    good, bad = (json.dumps(json.loads(file)["signed"]).encode() for file in (world.file("timestamp"), tampered(world, "timestamp")))
    first, second = (good, bad) if good_first else (bad, good)
    signatures = json.dumps(json.loads(world.file("timestamp"))["signatures"]).encode()
    return world.changed("timestamp", b'{"signatures":%s,"signed":%s,"signed":%s}' % (signatures, first, second))


add("malformed", "timestamp: `signed` twice, the second is not signed", "timestamp", lambda w: twice(w, True))
add("control", "timestamp: `signed` twice, the second is what is signed, as all clients read it", "target", lambda w: twice(w, False), expected=TAKEN)
