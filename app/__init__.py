"""What is shown: reads the published snapshot, never the database."""
