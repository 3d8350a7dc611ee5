"""Run a program of a section to its end; where it fails, its last line is the error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence


def run_program(
    command: Sequence[str], environment: Mapping[str, str], *, limit_s: float | None = None
) -> str:
    """Its standard output.

    Raises:
        RuntimeError: it failed; the last line of its standard error.
        subprocess.TimeoutExpired: it takes longer than `limit_s`.
    """
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit_s,
        check=False,
    )
    sys.stderr.write(done.stderr)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"exit code {done.returncode}: {lines[-1] if lines else 'no message'}")
    return done.stdout
