"""Files that the benches make."""

from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Writes a file in place, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
