"""What is run: engines, the harness, executors. Everything heavy lives in child processes."""
