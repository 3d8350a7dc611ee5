"""`tracker` as a person types it: what it prints and how it ends.

`command` runs it in this process and saves the imports; `process` starts one, for what is read at an import,
such as the variables of the Hub's client.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess

import pytest

from tests.conftest import ROOT
from tracker.cli import main


def command(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """Run `tracker` with these arguments, and these variables added to the environment."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    return CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())


def process(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """Run `tracker` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=240,
    )
