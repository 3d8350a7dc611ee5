"""The transformers engine: the reference, and the engine for machines without a GPU."""
