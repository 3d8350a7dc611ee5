"""Resolve and download models: Hub repositories, local folders, served models, the embedded demo model."""
