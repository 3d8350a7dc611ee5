"""The weekly run: ingest, queue and digest, and the timer that starts it."""
