"""Everything that can go wrong for a reason a person can act on.

    TrackerError                exit 1   a clear user error
    ├── UnknownNameError        exit 1   a typo; near names are suggested
    ├── UsageError              exit 2   an argument is missing, or two do not go together
    ├── BusyError               exit 1   another process holds what we need
    ├── StoreError              exit 1   the database cannot be read or written
    ├── DiskFullError           exit 1   no space left; what was written before stays valid
    ├── ModelError              exit 3   the model could not be run; recorded with its `reason`
    │   └── EngineError         exit 3   it was loaded, or tried to be, and failed
    └── UnreachableError        exit 4   a source, server or data set is down; nothing is lost
        └── TransientError      exit 4   worth another try

The message names what and which value; `hint` says what to do. A traceback means a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

DISK_FULL_HINT = "free some space (`hf cache rm` for old models) and repeat the command: it goes on there"


class TrackerError(Exception):
    """A problem that the user can act on; `exit_code` follows the table of the command line."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UnknownNameError(TrackerError):
    """A name that is in no list; the hint offers the near ones, or the whole list."""

    def __init__(self, kind: str, name: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
        if not near and names:
            hint = "known: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        super().__init__(f"no {kind} is called `{name}`", hint=hint)


class UsageError(TrackerError):
    """An argument is missing: what the command line's parser cannot tell by itself."""

    exit_code = 2


class BusyError(TrackerError):
    """Another process holds the lock; the message names it."""


class StoreError(TrackerError):
    """The database or its files cannot be read or written."""


class DiskFullError(TrackerError):
    """No space is left; what was written before stays valid."""

    def __init__(self, path: str) -> None:
        super().__init__(f"no space left on the disk of `{path}`", hint=DISK_FULL_HINT)


class ModelError(TrackerError):
    """A model that cannot be run here; `reason` is the machine-readable cause kept with the run.

    Reasons: `gated`, `pickle_weights`, `needs_remote_code`, `missing_weights`, `broken_weights`,
    `unsupported`, `does_not_fit`, `out_of_memory`, `engine_died`, `hang`.
    """

    exit_code = 3

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class EngineError(ModelError):
    """The engine could not load the model, or died while answering."""


class UnreachableError(TrackerError):
    """A source, a server or a data set could not be reached; what was measured is kept."""

    exit_code = 4


class TransientError(UnreachableError):
    """A failure that may pass: the only kind that is retried, a bounded number of times."""
