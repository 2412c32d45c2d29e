"""The modules of `tests/bench`, one for each measurement."""
