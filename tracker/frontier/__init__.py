"""Pure arithmetic on published scores: the capability index, gaps in months, lags, placement.

Reads only the tables under `data/frontier/`; the formulas are in `docs/method.md`.
"""
