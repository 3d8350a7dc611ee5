"""Running models: engines, the harness, executors, research. Everything heavy runs in child processes."""
