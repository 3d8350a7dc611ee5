"""The sandbox that code of an agent runs in."""
