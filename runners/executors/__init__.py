"""Where work runs: a child process on this machine; others take the same job file."""
