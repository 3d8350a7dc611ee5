"""The trusted evaluator, and the checks that a cheat must pass."""
