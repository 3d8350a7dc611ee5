"""Measure a model: resolve, check the fit, run in a child process, store, publish."""
