"""The engine for any OpenAI-compatible server."""
