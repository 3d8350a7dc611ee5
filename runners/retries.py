"""Retries say on stderr what they wait for; stamina itself would print to stdout, where data belongs."""

from __future__ import annotations

import logging

import stamina.instrumentation

_log = logging.getLogger(__name__)


def announce_retries() -> None:
    """Make every retry of this process a line in the log."""
    stamina.instrumentation.set_on_retry_hooks([_announce])


def _announce(details: stamina.instrumentation.RetryDetails) -> None:
    _log.warning("%s; asking again in %.1f s", details.caused_by, details.wait_for)
