"""Whether a model fits: memory predicted from headers and configuration, before any download."""
