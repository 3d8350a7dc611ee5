"""`tracker export FOLDER`: what this home holds, for other programs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from tracker.cli import print_json
from tracker.cli.help import JsonDocument
from tracker.cli.tables import cell, console
from tracker.errors import UsageError
from tracker.exchange.export_runs import HUB, ExportOutcome, ExportRequest, export_results
from tracker.foreign_text import one_line, printable
from tracker.settings import load_settings
from tracker.wording import counted


def export(
    folder: Path,
    *,
    format: str = "parquet",
    table: list[str] | None = None,
    model: str | None = None,
    suite: str | None = None,
    organization: str | None = None,
    dry_run: bool = False,
    write: bool = False,
    as_json: JsonDocument = False,
) -> None:
    """Export tables, records of Every Eval Ever, or results for the Hub to a new folder.

    Published scores whose terms do not allow passing them on are held back, and counted. Nothing is uploaded.

    Parameters
    ----------
    folder
        A folder that does not exist yet.
    format
        `parquet`, `csv` or `jsonl`: tables and a dictionary; `every-eval-ever`: a record and samples of
        each run, held against their schema; `hub`: files for `.eval_results` of model repositories.
    table
        Only this table: `runs`, `scores`, `metrics`, `items`, `frontier`, `published` or `shipped`.
    model
        Only runs of this model, for records and the Hub.
    suite
        Only runs of this suite, for records and the Hub.
    organization
        Who measured the runs, for records.
    dry_run
        Count and check everything, without writing.
    write
        Write the files for the Hub, which are otherwise only shown.
    as_json
        Print one JSON document: `folder`, `files`, `held_back`, `dry_run`.
    """
    if write and (dry_run or format != HUB):
        raise UsageError(
            "`--write` applies to `--format hub` alone", hint="other formats are written at once"
        )
    request = ExportRequest(
        kind=format,
        tables=tuple(table or ()),
        model=model,
        suite=suite,
        organization=organization,
        is_dry_run=dry_run or (format == HUB and not write),
    )
    outcome = export_results(folder, request, load_settings())
    if as_json:
        print_json(
            {
                "folder": outcome.folder,
                "files": [asdict(one) for one in outcome.files],
                "held_back": [asdict(one) for one in outcome.held_back],
                "dry_run": outcome.is_dry_run,
            }
        )
    else:
        _print(outcome, shows_content=format == HUB)


def _print(outcome: ExportOutcome, *, shows_content: bool) -> None:
    shown = Table(header_style="bold")
    shown.add_column("file")
    shown.add_column("rows", justify="right")
    for file in outcome.files:
        shown.add_row(cell(file.file), f"{file.n_rows:,}")
    if outcome.files:
        console().print(shown)
    for file in outcome.files:
        if shows_content and outcome.is_dry_run and file.content is not None:
            print(f"# {one_line(file.file)}\n{printable(file.content)}")
    for held in outcome.held_back:
        print(
            one_line(f"held back: {counted(held.n_rows, 'row')} of {held.table}: {held.why}"), file=sys.stderr
        )
    if outcome.is_dry_run:
        flag = "with `--write`" if shows_content else "without `--dry-run`"
        print(f"nothing was written; {flag} it is", file=sys.stderr)
