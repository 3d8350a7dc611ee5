"""The sandbox that code runs in which nobody has read: of an agent, or of a model under test."""
