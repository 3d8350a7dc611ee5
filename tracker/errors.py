"""Errors that a user can act on.

    TrackerError                exit 1   a mistake or a problem that the user can fix
    ├── UnknownNameError        exit 1   a typo; similar names are suggested
    │   └── NotServedError      exit 1   a server has no model of this name
    ├── UsageError              exit 2   an argument is missing, or two cannot be combined
    ├── FieldError              exit 1   a record got an invalid value; also a ValueError
    ├── BusyError               exit 1   another process holds the lock
    ├── StoreError              exit 1   the database cannot be read or written
    │   └── NewerFormatError    exit 1   a file was written by a newer version of this program
    ├── DiskFullError           exit 1   no space left; earlier results stay valid
    ├── ModelError              exit 3   the model could not be run; recorded with its `reason`
    │   └── EngineError         exit 3   the engine failed while loading or answering
    └── UnreachableError        exit 4   a source, server or dataset is down; nothing is lost
        └── TransientError      exit 4   a temporary failure; retried
    (interrupted                exit 130 Ctrl-C or SIGTERM; no exception, see `EXIT_INTERRUPTED`)

The message names the value and the reason; `hint` says what to do; neither repeats a secret. A traceback
means a bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracker.redaction import masked

EXIT_INTERRUPTED = 130  # Ctrl-C or SIGTERM, by the convention of shells: 128 plus the number of SIGINT
MAX_NEAR = 3  # names suggested for a typo
MIN_PART = 2  # minimum length for matching a part of a name
MIN_LIKENESS = 0.6  # difflib ratio of two names, its default
PANIC = "PanicException"  # of pyo3, which cannot be imported
MAX_WORDS = 500  # characters of an error that are kept with a job
DISK_FULL_HINT = (
    "free some space (`hf cache rm` deletes old models) and repeat the command; it continues where it stopped"
)


def is_failure(error: BaseException) -> bool:
    """Whether something went wrong, as against a request to stop such as Ctrl-C.

    A panic of a library in Rust, such as a tokenizer's, is no `Exception` in Python, but it is a failure.
    """
    return isinstance(error, Exception) or type(error).__name__ == PANIC


def describe_failure(error: BaseException) -> str:
    """One line on an error of any kind; an unexpected one is named by its type."""
    text = printable_text(str(error)[: 4 * MAX_WORDS])
    text = text if len(text) <= MAX_WORDS else text[:MAX_WORDS] + "…"
    if isinstance(error, TrackerError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable_text(value: object) -> str:
    """The value as one line of valid Unicode: blanks are joined, control characters replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(unicode_text(str(value)).split()))


def unicode_text(text: str) -> str:
    """The text with halves of surrogate pairs written out: no file and no database takes them."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class TrackerError(Exception):
    """A problem that the user can act on; `exit_code` is the exit code of the command."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(unicode_text(message))
        self._hint = unicode_text(hint)

    def __str__(self) -> str:
        """The message, without this user's secrets, whoever put them in."""
        return masked(super().__str__())

    @property
    def hint(self) -> str:
        """What helps, without this user's secrets."""
        return masked(self._hint) if self._hint else ""

    @hint.setter
    def hint(self, hint: str) -> None:
        self._hint = unicode_text(hint)


class UnknownNameError(TrackerError):
    """An unknown name; the hint suggests similar names, or lists the known ones."""

    def __init__(self, kind: str, name: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = near_names(name, names)
        hint = f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
        if not near and names:
            hint = "known: " + ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        hint = hint or f"there is no {kind} yet"
        super().__init__(f"no {kind} is called `{name}`", hint=hint)


class NotServedError(UnknownNameError):
    """A server serves no model of this name."""

    def __init__(self, server: str, name: str, *, known: Sequence[str]) -> None:
        super().__init__(f"model on {server}", name, known=known)
        if len(known) == 1:
            self.args = (f"the server at {server} serves `{known[0]}`, not `{name}`",)
            self.hint = f"use the name `{known[0]}` to measure that model"


def near_names(name: str, known: Iterable[str], *, n: int = MAX_NEAR) -> list[str]:
    """At most `n` known names similar to `name`, the most likely first; case is ignored.

    Names that start with or contain `name` come before names with a similar spelling: `GPQA` means GPQA
    diamond rather than PIQA.
    """
    from difflib import get_close_matches  # here: it takes a third of the time of `tracker --help`

    typed = name.casefold().strip()
    folded = {each.casefold(): each for each in sorted(known)}
    if len(typed) >= MIN_PART:
        starting = [each for fold, each in folded.items() if fold.startswith(typed)]
        holding = [each for fold, each in folded.items() if typed in fold]
        if starting or holding:
            return sorted(starting or holding, key=len)[:n]
    return [folded[fold] for fold in get_close_matches(typed, folded, n=n, cutoff=MIN_LIKENESS)]


class UsageError(TrackerError):
    """An invalid combination of arguments that the command-line parser cannot detect."""

    exit_code = 2


class FieldError(TrackerError, ValueError):
    """A field of a record got an invalid value; the command line names the flag instead."""

    def __init__(self, field: str, problem: str, *, hint: str = "", example: object = None) -> None:
        """Describe the problem with `field`; `example` is a valid value for the hint."""
        self.field, self.problem = field, problem
        self.flag = f"--{field.replace('_', '-')}"
        super().__init__(
            f"{field} {problem}", hint=hint or (f"example: `{self.flag} {example}`" if example else "")
        )

    def as_flag(self) -> TrackerError:
        """The same error, with the name of the flag."""
        return TrackerError(f"`{self.flag}` {self.problem}", hint=self.hint)


class BusyError(TrackerError):
    """Another process holds the lock; the message names that process."""


class StoreError(TrackerError):
    """The database or its files cannot be read or written."""


class NewerFormatError(StoreError):
    """A newer version of this program wrote the file; it is left unchanged."""

    def __init__(self, where: str, *, found: int, known: int) -> None:
        message = f"{where}: format {found} is too new; this version of tracker reads formats up to {known}"
        super().__init__(message, hint="upgrade tracker; the file is intact and needs no repair")


class DiskFullError(TrackerError):
    """No space is left on the disk; earlier results stay valid."""

    def __init__(self, path: str) -> None:
        super().__init__(f"no space left on the disk that holds `{path}`", hint=DISK_FULL_HINT)


class ModelError(TrackerError):
    """A model that cannot run here; `reason` is the machine-readable cause stored with the run.

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
    """A source, server or dataset could not be reached; results so far are kept."""

    exit_code = 4


class TransientError(UnreachableError):
    """A temporary failure: the only kind that is retried, a limited number of times."""
