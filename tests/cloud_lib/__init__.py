"""The parts of `tests/cloud`: one module for each thing that it sets up."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Refusal(Exception):
    """What `tests/cloud` can't go on with, said in one line."""
