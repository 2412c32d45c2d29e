"""A device with tough: `cli/examples/tough_device.rs`."""

from pathlib import Path

from .form import TUFLINE

PROGRAM = TUFLINE.parent / "examples" / "tough_device"

# What it ends with where the repository has no such target.
NO_SUCH_TARGET = 3


def command(folder: Path, root: Path, metadata_url: str, targets_url: str, name: str, out: Path) -> list[str]:
    """What updates and fetches a target; tough wants slashes at the ends of the URLs. What it keeps is in `folder`."""
    return [str(argument) for argument in (PROGRAM, root, metadata_url, targets_url, folder / "datastore", name, out)]
