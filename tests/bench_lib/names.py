"""The targets of the benches for scale. Their names have the usual length, so that metadata has its
usual size."""

import hashlib


def name(number: int) -> str:
    """The name of target `number`, the same as in `functions/pipeline/benches/scale/world.rs`."""
    return f"gateway/releases/2026-11/product-{number % 1000:04}/board-b/firmware-{number:08}.bin"


def content(target: str) -> bytes:
    """The bytes of a target before its change."""
    return target.encode()


def changed(target: str) -> bytes:
    """The bytes of a target after its change."""
    return f"{target}, changed".encode()


def digits(target: str) -> str:
    """The hexadecimal digits that choose a target's bin."""
    return hashlib.sha256(target.encode()).hexdigest()
