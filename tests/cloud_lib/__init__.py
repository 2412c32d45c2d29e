"""The modules of `tests/cloud`, one for each thing that it sets up."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Refusal(Exception):
    """One line that says why `tests/cloud` can't continue."""
