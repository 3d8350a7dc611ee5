"""The dashboard: reads the published snapshot, never the database."""
