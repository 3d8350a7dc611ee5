"""The command line: one file per command; each parses, calls, prints.

Commands are named by import string, so that `tracker --help` imports none of them.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.exceptions import CycloptsError

import tracker
from tracker.errors import DiskFullError, StoreError, TrackerError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = App(
    name="tracker",
    help="How far is an open-weight model behind the closed frontier, measured on your own card?",
    version=tracker.__version__,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command("tracker.cli.bench:bench", name="bench", help="Measure one model: fit check, run, store, print.")
app.command("tracker.cli.fit:fit", name="fit", help="Predict the memory that a model needs here.")
app.command("tracker.cli.models:models", name="models", help="List the models known here.")
app.command("tracker.cli.show:show", name="show", help="All that is known of one model.")
app.command("tracker.cli.suites:suites", name="suites", help="List the suites and what is in them.")
app.command("tracker.cli.query:query", name="query", help="Run one read-only SQL statement on the snapshot.")
app.command("tracker.cli.app:app", name="app", help="Open the dashboard.")
app.command("tracker.cli.doctor:doctor", name="doctor", help="Say what works on this machine.")
app.command("tracker.cli.compare:compare", name="compare", help="Compare two models on shared items.")
app.command("tracker.cli.frontier_views:app", name="frontier", help="How far open models are behind.")
app.command("tracker.cli.index:app", name="index", help="The capability index: fit it, show it.")
app.command("tracker.cli.ingest:ingest", name="ingest", help="Pull models and published scores.")
app.command("tracker.cli.queue:app", name="queue", help="What is measured next, and why.")
app.command(
    "tracker.cli.weekly:weekly", name="weekly", help="Ingest, measure within a budget, write the digest."
)
app.command(
    "tracker.cli.digest:digest", name="digest", help="What changed: models, scores, records, outages."
)
app.command("tracker.cli.schedule:app", name="schedule", help="Run `tracker weekly` by a timer.")
app.command("tracker.cli.research:app", name="research", help="Let a model tune a small GPT-2.")
app.command("tracker.cli.store:app", name="store", help="Rebuild, publish or check the store.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`; end the process with the exit code of the contract."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        app(tokens, exit_on_error=False, print_error=True)
    except CycloptsError as error:
        if "--json" in tokens:
            hint = "`tracker --help` lists the commands, `tracker COMMAND --help` the flags of one"
            print_json({"error": str(error), "hint": hint, "exit_code": EXIT_USAGE})
        sys.exit(EXIT_USAGE)
    except TrackerError as error:
        report(error, as_json="--json" in tokens)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `tracker … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        ours = _home_error(error)
        if ours is None:
            raise
        report(ours, as_json="--json" in tokens)
        sys.exit(ours.exit_code)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to go on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _home_error(error: OSError) -> TrackerError | None:
    """Our error for a disk that is full, or a home that cannot be read or written; None for any other."""
    from tracker.settings import load_settings
    from tracker.store import WRITABLE_HINT

    if error.errno == errno.ENOSPC:
        return DiskFullError(str(error.filename or "TRACKER_HOME"))
    if error.filename is None or not Path(str(error.filename)).is_relative_to(load_settings().home):
        return None
    return StoreError(f"{error.filename}: {error.strerror}", hint=WRITABLE_HINT)


def report(error: TrackerError, *, as_json: bool) -> None:
    """Print the error for people on stderr, and with `--json` also as the one document on stdout."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"\nhint: {error.hint}", file=sys.stderr)
    if as_json:
        print_json({"error": str(error), "hint": error.hint, "exit_code": error.exit_code})


def print_json(document: Any) -> None:
    """Print the one JSON document of a `--json` call."""
    json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
