"""Formats of other programs' results: a module for each, which reads it into a `ForeignRun` or writes it.

What is read is hostile until parsed: bounded in bytes, depth and number of entries, and never extracted.
"""
