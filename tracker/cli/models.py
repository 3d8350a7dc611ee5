"""`tracker models`: the models measured here."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from tracker.cli import print_json
from tracker.cli.tables import cell, console, count, moment, plain
from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.store import open_snapshot

SIZES = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
EMPTY = "no model has been measured here yet; `tracker bench demo` measures the embedded one"
NO_MATCH = "no model measured here matches; `tracker models` without filters lists all"


def models(
    *,
    license: Annotated[str | None, Parameter(name="--license")] = None,
    max_params: str | None = None,
    known: Annotated[bool, Parameter(negative="")] = False,
    fits_gb: float | None = None,
    unmatched: Annotated[bool, Parameter(negative="")] = False,
    match: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the models measured here, each with its last run, the newest first.

    Parameters
    ----------
    license
        Only models whose licence contains this, such as apache.
    max_params
        Only models with at most so many parameters, such as 8B or 500M.
    known
        The models that the Hub has, as `tracker ingest` last saw them, instead of those measured here.
    fits_gb
        Of the known models, those that need at most so many GB of memory; an estimate from the weights' size.
    unmatched
        Names in other sources that may be models of the Hub, and what they look like.
    match
        Say which model such a name is: `SOURCE:NAME=org/name`.
    json
        Print one JSON document: `models`, or `unmatched`.
    """
    if unmatched or match or known or fits_gb is not None:
        from tracker.cli.known_models import print_known, print_unmatched, settle

        limits = {"license": license, "max_params": n_params(max_params) if max_params else None}
        if match:
            settle(match, as_json=json)
        elif unmatched:
            print_unmatched(as_json=json)
        else:
            print_known(limits, fits_gb=fits_gb, as_json=json)
        return
    filters = {"license": license, "max_params": n_params(max_params) if max_params else None}
    with open_snapshot(load_settings()) as snapshot:
        rows = snapshot.query("models", **filters)
    if json:
        print_json({"models": plain(rows)})
    elif rows:
        console().print(_table(rows))
    else:
        print(NO_MATCH if any(value is not None for value in filters.values()) else EMPTY, file=sys.stderr)


def n_params(text: str) -> int:
    """The number that `8B`, `500M` or `134515008` stands for.

    Raises:
        TrackerError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmbt]?)", text.strip().lower())
    if not found:
        raise TrackerError(f"--max-params {text}: is not a number of parameters", hint="--max-params 8B")
    return round(float(found.group(1)) * SIZES[found.group(2)])


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    for name in ("model", "parameters", "licence", "quantization", "runs", "last run", "status", "at"):
        table.add_column(name, justify="right" if name in {"parameters", "runs"} else "left")
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
        )
    return table
