"""Cached readers of the snapshot and of files for the pages and the JSON routes."""
