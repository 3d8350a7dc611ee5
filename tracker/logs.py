"""Structured logs on standard error: readable on a terminal, JSON lines under a timer or in a pipe.

Commands print results; the log reports events around them.
`--verbose` or `TRACKER_LOG_LEVEL=info` shows it; the default is `warning`, and `--quiet` leaves only errors.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from tracker.foreign_text import indented
from tracker.redaction import masked

PACKAGES = ("tracker", "runners", "app")  # ours, where they log with the standard library


def start_logging(level: str) -> None:
    """Send log lines of at least `level`, one of `LogLevel` in `settings`, to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    for package in PACKAGES:
        logging.getLogger(package).setLevel(number)
    if logging.lastResort is not None:  # prints the lines for which nobody has set up a handler
        logging.lastResort.setFormatter(SafeFormatter())


def get_logger(name: str) -> Any:
    """A logger whose lines carry `name` as their part of the program.

    A program that calls this one from Python keeps its own configuration of structlog.
    """
    on_terminal = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    level = logging.getLogger(PACKAGES[0]).getEffectiveLevel()
    return structlog.wrap_logger(
        structlog.PrintLogger(file=sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _made_safe,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
        part=name,
    )


class SafeFormatter(logging.Formatter):
    """Lines of the standard library's logging without secrets, in which no text of others acts."""

    def format(self, record: logging.LogRecord) -> str:
        """Mask the whole line, with its traceback if there is one, and write out what is not seen."""
        return indented(masked(super().format(record)))


def _made_safe(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with its texts masked and printable: what a terminal gets is not escaped as JSON is."""
    return {key: indented(masked(value)) if isinstance(value, str) else value for key, value in event.items()}


def announce_retries() -> None:
    """Make every retry of this process a line in the log; stamina itself would print to stdout."""
    import stamina.instrumentation  # only what asks a network needs it

    log = logging.getLogger(__name__)

    def announce(details: stamina.instrumentation.RetryDetails) -> None:
        log.warning("%s; asking again in %.1f s", details.caused_by, details.wait_for)

    stamina.instrumentation.set_on_retry_hooks([announce])
