"""The command line: one file per command; each parses, calls, prints.

`tracker --help` and `tracker --version` use the table below and import nothing else: importing the parser and
every command would take ten times as long.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

import tracker
from tracker.errors import EXIT_INTERRUPTED, DiskFullError, FieldError, StoreError, TrackerError, UsageError
from tracker.private_home import restrict_new_files
from tracker.redaction import masked, print_masked_traceback

if TYPE_CHECKING:
    from tracker.settings import LogLevel

EXIT_USAGE = 2
ESCAPED = "json-escapes"  # the error handler of our output
LEVEL_FLAGS: dict[str, LogLevel] = {"--quiet": "error", "-q": "error", "--verbose": "info", "-v": "info"}
MAX_PATH_CHARS = 80  # of a path in a sentence
REFUSED_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR)
HELP_FLAGS = ("--help", "-h")
DESCRIPTION = "How far is an open-weight model behind the closed frontier, measured on your own GPU?"
EPILOGUE = (
    "Every command takes --json (print one JSON document), --quiet or -q (no progress, no warnings)"
    " and --verbose or -v (print log lines)."
)


class Command(NamedTuple):
    """A command: its name, its function, its line in the overview."""

    name: str
    target: str  # "package.module:name", imported only when the command runs
    help: str


COMMANDS: dict[str, tuple[Command, ...]] = {
    "Measure": (
        Command("bench", "tracker.cli.bench:bench", "Measure one model and store every answer."),
        Command("ladder", "tracker.cli.ladder:ladder", "Measure what the copies of a model lose."),
        Command("fit", "tracker.cli.fit:fit", "Predict the memory that a model needs, or list what fits."),
        Command("plan", "tracker.cli.plan:plan", "Show the smallest cards that would run a model."),
        Command("queue", "tracker.cli.queue:app", "Show, change and run the queue of models to measure."),
        Command("suites", "tracker.cli.suites:suites", "List the suites and their tasks."),
    ),
    "Results": (
        Command(
            "models", "tracker.cli.models:models", "List the models measured here or known from the Hub."
        ),
        Command(
            "leaderboard", "tracker.cli.leaderboard:leaderboard", "Rank the measured models by one task."
        ),
        Command("show", "tracker.cli.show:show", "Show everything known about one model."),
        Command("compare", "tracker.cli.compare:compare", "Compare two models on the items both answered."),
        Command("query", "tracker.cli.query:query", "Query the results with SQL (read-only)."),
        Command(
            "import", "tracker.cli.import_results:import_command", "Import results that others measured."
        ),
        Command("export", "tracker.cli.export:export", "Export tables, records, or results for the Hub."),
        Command("app", "tracker.cli.dashboard:app", "Open the dashboard."),
        Command("mcp", "tracker.cli.mcp:mcp", "Let agents ask questions (MCP)."),
    ),
    "Frontier": (
        Command(
            "frontier", "tracker.cli.frontier_boards:app", "Show how far open models are behind closed ones."
        ),
        Command("index", "tracker.cli.index:app", "Fit and show the capability index."),
        Command(
            "benchmarks", "tracker.cli.benchmarks:benchmarks", "List the benchmarks with published scores."
        ),
    ),
    "Sources and schedule": (
        Command("ingest", "tracker.cli.ingest:ingest", "Fetch models and published scores."),
        Command("weekly", "tracker.cli.weekly:weekly", "Ingest, run the queue, write the digest."),
        Command("digest", "tracker.cli.digest:digest", "Report what is new."),
        Command("schedule", "tracker.cli.schedule:app", "Run `tracker weekly` on a timer."),
    ),
    "Auto-research": (
        Command(
            "research", "tracker.cli.research:app", "Run a model or an optimizer that tunes a small GPT-2."
        ),
    ),
    "This installation": (
        Command("doctor", "tracker.cli.doctor:doctor", "Check what works on this machine."),
        Command(
            "store", "tracker.cli.store:app", "Rebuild, publish, check, repair, export or import the store."
        ),
        Command("completion", "tracker.cli.completion:completion", "Set up tab completion."),
    ),
}


def overview() -> str:
    """The text of `tracker --help`."""
    width = max(len(command.name) for group in COMMANDS.values() for command in group) + 2
    lines = ["Usage: tracker COMMAND [OPTIONS]", "", DESCRIPTION]
    for title, group in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {command.name:<{width}}{command.help}" for command in group)]
    lines += ["", "`tracker COMMAND --help` shows the options of a command, `tracker --version` the version."]
    return "\n".join([*lines, EPILOGUE])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`; exit with a nonzero code if it fails."""
    restrict_new_files()
    sys.excepthook = print_masked_traceback
    with _own_output():
        _main(list(sys.argv[1:] if argv is None else argv))


def _main(tokens: list[str]) -> None:
    try:
        try:
            tokens, level = _without_level(tokens)
            if not tokens or tokens[0] in HELP_FLAGS:
                print(overview())
            elif tokens == ["--version"]:
                print(tracker.__version__)
            elif sorted(tokens) == ["--json", "--version"]:
                print_json({"version": tracker.__version__})
            else:
                _run(tokens, level)
        finally:
            sys.stdout.flush()  # now, while an error can still be told
    except _OutputError as error:
        _discard_output()
        report(error, as_json=False)
        sys.exit(error.exit_code)
    except TrackerError as error:
        report(error.as_flag() if isinstance(error, FieldError) else error, as_json="--json" in tokens)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `tracker … | head`
        _discard_output()
        sys.exit(0)
    except OSError as error:
        ours = _home_error(error) or _path_error(error)
        if ours is None:
            raise
        report(ours, as_json="--json" in tokens)
        sys.exit(ours.exit_code)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to resume", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _run(tokens: list[str], level: LogLevel | None) -> None:
    from contextlib import nullcontext

    from cyclopts.exceptions import CycloptsError

    from tracker.cli.command_line import command_line
    from tracker.settings import log_level

    try:
        with nullcontext() if level is None else log_level(level):
            command_line(tokens, exit_on_error=False, print_error=True)
    except CycloptsError as error:
        if "--json" in tokens:
            hint = "`tracker --help` lists the commands, `tracker COMMAND --help` the options of a command"
            print_json({"error": masked(str(error)), "hint": hint, "exit_code": EXIT_USAGE})
        sys.exit(EXIT_USAGE)


def _without_level(tokens: list[str]) -> tuple[list[str], LogLevel | None]:
    """The tokens without `--quiet` and `--verbose`, and the log level that these select.

    Raises:
        UsageError: both are given.
    """
    end = tokens.index("--") if "--" in tokens else len(tokens)
    given = {LEVEL_FLAGS[token] for token in tokens[:end] if token in LEVEL_FLAGS}
    if len(given) > 1:
        raise UsageError("`--quiet` and `--verbose` cannot be combined", hint="use one of them")
    rest = [token for token in tokens[:end] if token not in LEVEL_FLAGS]
    return rest + tokens[end:], given.pop() if given else None


class _OutputError(TrackerError):
    """Standard output cannot be written."""

    def __init__(self, problem: str) -> None:
        message = f"cannot write to standard output: {problem}"
        super().__init__(message, hint="send the output somewhere else; what was stored is kept")


class _Output:
    """Standard output whose failures are told from those of a file; None if the program has none."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._stream is None:
            raise _OutputError("it is closed")
        with _output_errors():
            return self._stream.write(text)

    def flush(self) -> None:
        if self._stream is not None:
            with _output_errors():
                self._stream.flush()


@contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _OutputError(error.strerror or str(error)) from error


@contextmanager
def _own_output() -> Iterator[None]:
    """Let failures of standard output be told in the block; what is left of it then goes nowhere."""
    stream, errors = sys.stdout, sys.stderr
    codecs.register_error(ESCAPED, _escaped)
    for one in (stream, errors):
        if isinstance(one, io.TextIOWrapper):
            one.reconfigure(errors=ESCAPED)
    sys.stdout = cast("TextIO", _Output(stream))
    if errors is None:  # Python has None for a closed stream, and would print errors to standard output
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the end
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stream, errors


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Letters that an encoding such as ASCII lacks, as JSON escapes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2)), error.end


def _discard_output() -> None:
    """Let what is left of the output go nowhere, or Python would try again at its end."""
    with suppress(
        OSError, ValueError, AttributeError
    ):  # a closed output and that of a test have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _home_error(error: OSError) -> TrackerError | None:
    """The error to report for a full disk, or for a home that cannot be read or written; else None."""
    from pathlib import Path

    from tracker.settings import load_settings
    from tracker.store import WRITABLE_HINT

    if error.errno == errno.ENOSPC:
        return DiskFullError(str(error.filename or "TRACKER_HOME"))
    if error.filename is None or not Path(str(error.filename)).is_relative_to(load_settings().home):
        return None
    return StoreError(f"{error.filename}: {error.strerror}", hint=WRITABLE_HINT)


def _path_error(error: OSError) -> TrackerError | None:
    """The error to report for a path that the system refuses, such as one with a name that is too long."""
    if error.errno not in REFUSED_PATHS or error.filename is None:
        return None
    name = str(error.filename)
    shown = name if len(name) <= MAX_PATH_CHARS else f"{name[:MAX_PATH_CHARS]}…"
    return TrackerError(f"`{shown}`: {error.strerror}", hint="check the path, and that you may read it")


def report(error: TrackerError, *, as_json: bool) -> None:
    """Print the error on stderr, and with `--json` also as a document on stdout."""
    from tracker.foreign_text import indented

    print(f"error: {indented(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"\nhint: {indented(error.hint)}", file=sys.stderr)
    if as_json:
        try:
            print_json({"error": str(error), "hint": error.hint, "exit_code": error.exit_code})
            sys.stdout.flush()
        except _OutputError:  # the sentence above has been said
            _discard_output()


def print_json(document: Any) -> None:
    """Print the one JSON document of a `--json` call."""
    from tracker.foreign_text import json_text

    sys.stdout.write(json_text(document) + "\n")
