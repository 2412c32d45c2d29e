"""The parts of `tests/bench`: one module for each thing that it measures."""
