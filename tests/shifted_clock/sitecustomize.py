"""For `make test-clock` alone: sleep on `select`, since libfaketime's `clock_nanosleep` fails with EINVAL.

It does so where FAKETIME_DONT_FAKE_MONOTONIC is set; where it is not, waiting for a lock with a timeout
never ends.
"""

from __future__ import annotations

import select
import time


def sleep(duration_s: float, /) -> None:
    """Sleep as `time.sleep` does."""
    if duration_s < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], duration_s)


time.sleep = sleep
