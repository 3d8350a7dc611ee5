"""`tracker import PATH`: take over results that another program measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from tracker.cli import print_json
from tracker.cli.help import JsonDocument
from tracker.cli.tables import cell, console
from tracker.errors import TrackerError
from tracker.exchange.import_runs import ImportedRun, ImportOutcome, import_results
from tracker.foreign_text import indented, one_line
from tracker.records.origins import IMPORTED
from tracker.settings import load_settings
from tracker.wording import counted


def import_command(
    path: Path, *, format: str | None = None, dry_run: bool = False, as_json: JsonDocument = False
) -> None:
    """Import results with samples that lm-eval or Inspect measured, or records of Every Eval Ever.

    They stand beside the runs measured here, marked as imported, in suites of their own, and never on the
    capability index. What is imported already is left as it is. Each file is taken whole or not at all: one
    that is damaged or contradicts itself is refused with its reason.

    Parameters
    ----------
    path
        A results file of lm-eval, its samples beside it, a `.eval` or `.json` log of Inspect, a record of
        Every Eval Ever, or a folder of them.
    format
        Read them as `lm-eval`, `inspect` or `every-eval-ever`. Default: what the content says.
    dry_run
        Check everything and say what would be imported, without writing.
    as_json
        Print one JSON document: `runs`, `refused`, `n_unknown`, `dry_run`.
    """
    outcome = import_results(path, load_settings(), name=format, is_dry_run=dry_run)
    if as_json:
        print_json(import_document(outcome))
    else:
        _print(outcome)
    if outcome.refused:
        n = counted(len(outcome.refused), "file")
        raise TrackerError(f"{n} refused; the others are imported", hint="`refused` above says why")


def import_document(outcome: ImportOutcome) -> dict[str, Any]:
    """The outcome as plain JSON values."""
    return {
        "runs": [_run_document(one) for one in outcome.runs],
        "refused": [{"file": one.file, "error": one.error, "hint": one.hint} for one in outcome.refused],
        "n_unknown": outcome.n_unknown,
        "dry_run": outcome.is_dry_run,
    }


def _run_document(one: ImportedRun) -> dict[str, Any]:
    run = one.run
    assert run.origin is not None
    return {
        "state": one.state,
        "file": one.file,
        "run_id": run.run_id,
        "model_id": run.model.model_id,
        "suite": run.suite,
        "evaluated_at": run.started_at.isoformat(),
        "n_items": run.n_items,
        "note": IMPORTED,
        "origin": {
            "tool": run.origin.tool,
            "tool_version": run.origin.tool_version,
            "file": run.origin.file,
            "sha256": run.origin.sha256,
            "imported_at": run.origin.imported_at.isoformat(),
            "evaluated_by": run.origin.evaluated_by,
        },
        "scores": [
            {
                "task": score.task, "metric": score.metric, "filter": score.filter, "value": score.value,
                "ci_low": score.ci_low, "ci_high": score.ci_high, "n_items": score.n_items,
                "group": score.group,
            }
            for score in run.scores
        ],
        "warnings": list(run.warnings),
    }  # fmt: skip


def _print(outcome: ImportOutcome) -> None:
    table = Table(header_style="bold")
    for name in ("", "model", "suite", "task", "score", "95% interval", "items"):
        table.add_column(name, justify="right" if name in ("score", "95% interval", "items") else "left")
    for one in outcome.runs:
        run = one.run
        scores = [score for score in run.scores if score.group is None]
        start = (cell(one.state), cell(run.model.model_id), cell(run.suite))
        if not scores:
            table.add_row(*start, cell(None), cell(None), cell(None), f"{run.n_items:,}")
        for place, score in enumerate(scores):
            ends = None
            if score.ci_low is not None and score.ci_high is not None:
                ends = f"{score.ci_low:.1%} – {score.ci_high:.1%}"
            head = start if place == 0 else (cell(""), cell(""), cell(""))
            table.add_row(*head, cell(score.task), f"{score.value:.1%}", cell(ends), f"{score.n_items:,}")
    if outcome.runs:
        console().print(table)
    for refused in outcome.refused:
        print(f"refused: {indented(refused.error)}", file=sys.stderr)
    for one in outcome.runs:
        for warning in one.run.warnings[1:]:
            print(one_line(f"note: {one.run.origin and one.run.origin.file}: {warning}"), file=sys.stderr)
    if outcome.n_unknown:
        print(f"{counted(outcome.n_unknown, 'file')} in no format that is read", file=sys.stderr)
    if outcome.is_dry_run:
        print("nothing was written; without `--dry-run` it is imported", file=sys.stderr)
