"""The training script, and one training of it."""
