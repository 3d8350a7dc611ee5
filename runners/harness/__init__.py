"""The harness: lm-eval's tasks, prompts, filters and metrics on our engines."""
