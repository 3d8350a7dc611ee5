"""How a job ends that met an error: the status of its runs, and the exit code."""

from __future__ import annotations

import errno
import traceback
from dataclasses import replace

from tracker.errors import (
    EXIT_INTERRUPTED,
    EngineError,
    ModelError,
    TrackerError,
    UnreachableError,
    describe_failure,
    is_failure,
    unicode_text,
)
from tracker.records import Run, RunStatus
from tracker.redaction import masked


def expected(error: BaseException, doing: str, reason: str) -> BaseException:
    """The error itself if it is one that we know, else an `EngineError`; the traceback is then in the log."""
    if isinstance(error, TrackerError | OSError) or not is_failure(error):
        return error
    traceback.print_exception(error)
    hint = "the worker's log has the details"
    return EngineError(f"{doing}: {describe_failure(error)}", reason=reason, hint=hint)


def failed(run: Run, error: BaseException) -> Run:
    """The run with the status, reason and detail of this error."""
    if isinstance(error, KeyboardInterrupt):
        return replace(run, status=RunStatus.INTERRUPTED, reason="interrupted")
    if isinstance(error, ModelError):
        reason = error.reason
    elif isinstance(error, UnreachableError):
        reason = "unreachable"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = "disk_full"
    else:
        reason = "error"
    hint = getattr(error, "hint", "")
    detail = masked(unicode_text(f"{error} ({hint})" if hint else str(error)))
    return replace(run, status=RunStatus.FAILED, reason=reason, detail=detail)


def exit_code(error: BaseException) -> int:
    """The command line's exit code for this error."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return error.exit_code if isinstance(error, TrackerError) else 1
