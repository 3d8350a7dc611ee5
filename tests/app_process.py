"""`tracker app` as a process of its own, for the tests that need the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60  # a cold import of Streamlit on a busy machine


@contextmanager
def served(home: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the first line that it printed, which comes once it answers; killed at the end."""
    argv = [sys.executable, "-m", "tracker", "app", "--no-browser", *flags]
    env = {"TRACKER_HOME": str(home), "PATH": os.environ["PATH"], "HOME": str(home)}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            if process.poll() is None:
                process.kill()
