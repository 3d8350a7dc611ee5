"""Begin, follow and resume a study of auto-research."""
