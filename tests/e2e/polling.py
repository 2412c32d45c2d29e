"""Waiting for something to become true. No test sleeps for a fixed time where it can look instead."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, look: Callable[[], T], seconds: float = 30.0, pause: float = 0.02) -> T:
    """Looks until `look` answers something true, and returns that.

    An assertion that fails in `look` counts as "not yet"; the last one is told when the time is up.
    """
    deadline = time.monotonic() + seconds
    why = ""
    while True:
        try:
            if found := look():
                return found
        except AssertionError as error:
            why = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} within {seconds:.0f} s{why}")
        time.sleep(pause)


def throughout(what: str, look: Callable[[], object], seconds: float, pause: float = 0.1) -> None:
    """Looks for `seconds` whether `look` stays true: the only way to see that something does not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert look(), f"no longer {what}"
        time.sleep(pause)
