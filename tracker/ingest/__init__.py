"""Ingest sources and store what is new."""
