"""`tracker models`: list models measured here or known from the Hub."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from tracker.answers.models import measured_models
from tracker.answers.options import param_limit
from tracker.cli import print_json
from tracker.cli.help import FILTERS, JsonDocument
from tracker.cli.tables import INDEX_HEADERS, cell, count, index_cells, index_note, moment, plain, print_table
from tracker.foreign_text import one_line
from tracker.records.origins import origin_note
from tracker.settings import load_settings

# columns that a narrow terminal lacks, the first of them first
LEAST = ("quantization", "license", "runs", "index from", "started", "status", "latest run", "parameters")
EMPTY = "no model has been measured here yet; `tracker bench demo` measures the embedded model"
NO_MATCH = "no model measured here matches; `tracker models` without filters lists all"


def models(
    *,
    license: Annotated[str | None, Parameter(group=FILTERS)] = None,
    max_params: Annotated[str | None, Parameter(group=FILTERS)] = None,
    known: bool = False,
    fits_gb: Annotated[float | None, Parameter(group=FILTERS)] = None,
    unmatched: bool = False,
    match: str | None = None,
    json: JsonDocument = False,
) -> None:
    """List the models measured here, each with its latest run, newest first.

    Parameters
    ----------
    license
        Only models whose license contains this text, e.g. apache.
    max_params
        Only models with at most N parameters, e.g. 8B or 500M.
    known
        List the models of the Hub, as last ingested, instead of those measured here.
    fits_gb
        Only models, measured here or on the Hub, that need at most N GB of memory (10^9 bytes) for a short
        context, each with the best settings that fit; with `--known` only those on the Hub.
    unmatched
        List open models of other sources that are not matched to a model of the Hub, with similar models,
        most widely scored first.
    match
        Match a name from a source to a model of the Hub: `SOURCE:NAME=org/name`; without `SOURCE:`, all names
        of that model.
    json
        Print one JSON document: `models`, or `unmatched`.
    """
    if unmatched or match or known or fits_gb is not None:
        from tracker.cli.known_models import print_fits, print_known, print_unmatched, settle

        limits = {"license": license, "max_params": param_limit(max_params)}
        if match:
            settle(match, as_json=json)
        elif unmatched:
            print_unmatched(as_json=json)
        elif fits_gb is not None and not known:
            print_fits(limits, fits_gb=fits_gb, as_json=json)
        else:
            print_known(limits, fits_gb=fits_gb, as_json=json)
        return
    found = measured_models(load_settings(), license_part=license, max_params=param_limit(max_params))
    rows = found.records()
    if json:
        print_json({"models": plain(rows)})
    elif rows:
        from tracker.answers.index_place import INDEX_NOTE

        print_table(_table(rows), least=LEAST)
        for row in rows:
            if origin := origin_note(row):
                print(one_line(f"{row['model_id']}: latest run {origin}"), file=sys.stderr)
        if note := index_note(rows, INDEX_NOTE):
            print(note, file=sys.stderr)
    else:
        print(NO_MATCH if license is not None or max_params is not None else EMPTY, file=sys.stderr)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    right = {"parameters", "runs", "months behind"}
    names = ("model", "parameters", "license", "quantization", "runs", "latest run", "status", "started")
    for name in (*names, *INDEX_HEADERS):
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        table.add_row(
            cell(row["model_id"]),
            count(row["n_params"]),
            cell(row["license"]),
            cell(row["quantization"]),
            f"{row['n_runs']:,}",
            cell(row["suite"]),
            cell(row["status"] if not row["reason"] else f"{row['status']}: {row['reason']}"),
            moment(row["started_at"]),
            *index_cells(row),
        )
    return table
