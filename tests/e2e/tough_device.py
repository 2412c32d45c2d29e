"""A device with tough: `examples/devices/tough/device.rs`."""

from pathlib import Path

from .form import TUFLINE

PROGRAM = TUFLINE.parent / "examples" / "tough_device"

# The exit code if the repository has no such target.
NO_SUCH_TARGET = 3


def command(folder: Path, root: Path, metadata_url: str, targets_url: str, name: str, out: Path) -> list[str]:
    """The command that updates and fetches a target, with its state in `folder`. tough needs
    slashes at the ends of the URLs."""
    return [str(argument) for argument in (PROGRAM, root, metadata_url, targets_url, folder / "datastore", name, out)]
