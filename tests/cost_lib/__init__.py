"""The parts of `tests/cost`: what a deployment asks of AWS is counted, and priced."""
