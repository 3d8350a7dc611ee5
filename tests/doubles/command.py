"""`tracker` in this process: what it prints and how it ends, without a second import of everything."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess

import pytest

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
