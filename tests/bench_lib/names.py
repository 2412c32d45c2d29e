"""The targets of the benches for scale: names as long as usual, so that metadata are as large as usual."""

import hashlib


def name(number: int) -> str:
    """As `functions/pipeline/benches/scale/world.rs` makes them."""
    return f"gateway/releases/2026-11/product-{number % 1000:04}/board-b/firmware-{number:08}.bin"


def content(target: str) -> bytes:
    """The bytes of a target, before it is changed."""
    return target.encode()


def changed(target: str) -> bytes:
    """The bytes of a target after it was changed."""
    return f"{target}, changed".encode()


def digits(target: str) -> str:
    """By which bins are chosen."""
    return hashlib.sha256(target.encode()).hexdigest()
