"""Task files of our own for lm-eval, one folder per suite."""
