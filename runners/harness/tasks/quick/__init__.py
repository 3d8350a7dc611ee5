"""The tasks of `quick` and `smoke`: items drawn here by reasoning-gym, so never seen in training."""
