"""Benchmarks of this program: ratios within one run on one machine; `python -m benchmarks` runs all."""
