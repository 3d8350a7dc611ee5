"""Scripted cheats against the real training, sandbox and evaluator."""
