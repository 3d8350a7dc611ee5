"""Measure a model and its copies on the same items."""
