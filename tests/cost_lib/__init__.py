"""The modules of `tests/cost`: they count a deployment's requests to AWS, and price them."""
