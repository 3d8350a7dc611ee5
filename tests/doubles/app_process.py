"""`tracker app` as a child process, for the tests that need the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.store_builder import NOW

START_S = 60  # a cold import of Streamlit on a busy machine
DRAWN_S = 280.0  # a thousand draws take five seconds on an idle core, a minute on a busy one


@contextmanager
def served(
    home: Path, *flags: str, needs_token: bool = False, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its first line of output, which it prints when it is ready; killed at the end."""
    argv = [sys.executable, "-m", "tracker", "app", "--no-browser", *flags]
    argv += [] if needs_token else ["--no-token"]
    env = variables | {"TRACKER_HOME": str(home), "PATH": os.environ["PATH"], "HOME": str(home)}
    env["TRACKER_NOW"] = NOW.isoformat()
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            if process.poll() is None:
                process.kill()
