"""Structured logs on standard error: readable on a terminal, JSON lines under a timer or in a pipe.

What a user asked for is printed by the command; the log says what happened around it.
`TRACKER_LOG_LEVEL=info` shows it; the default is `warning`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def start_logging(level: str) -> None:
    """Send log lines of at least `level` to standard error; an unknown level counts as `info`."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    on_terminal = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Any:
    """A logger whose lines carry `name` as their part of the program."""
    return structlog.get_logger(part=name)
