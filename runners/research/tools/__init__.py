"""The tools with which an agent works on a study step by step, and the ways in which they are offered."""
