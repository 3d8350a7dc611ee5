"""Tracks how close open-weight models are to the closed frontier, from runs on your own card."""

__version__ = "0.1.0"
