"""Answers that every face prints: the store and the arithmetic of the frontier joined into records."""
