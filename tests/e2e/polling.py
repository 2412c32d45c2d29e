"""Waits for conditions. A test that can check a condition doesn't sleep for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, look: Callable[[], T], seconds: float = 30.0, pause: float = 0.02) -> T:
    """Calls `look` until it returns something true, and returns that.

    A failed assertion in `look` means "not yet"; the last one is reported when the time is up.
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
    """Checks for `seconds` that `look` stays true: the only way to see that something does not
    happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert look(), f"no longer {what}"
        time.sleep(pause)
