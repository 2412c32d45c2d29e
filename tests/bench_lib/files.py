"""Files of the benches."""

from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Writes a file, and creates the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
