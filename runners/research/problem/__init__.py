"""The problem that agents are set: the training script, its sizes, and the space of what may be changed."""
