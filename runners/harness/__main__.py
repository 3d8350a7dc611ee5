"""`python -m runners.harness job.json`: a worker that cannot outlive its parent, from its first moment on.

The heavy imports of the worker take seconds; a parent that dies meanwhile must not leave one behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "TRACKER_PARENT"  # environment variable: the process that started us
EXIT_INTERRUPTED = 130
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; end now if it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ.get(PARENT, os.getppid())):
            sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    die_with_parent()
    from runners.harness.worker import main

    sys.exit(main(sys.argv))
