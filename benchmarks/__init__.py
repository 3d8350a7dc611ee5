"""Measures ourselves: ratios of one run on one machine; `python -m benchmarks` runs all."""
