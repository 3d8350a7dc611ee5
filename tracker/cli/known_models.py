"""`tracker models --known`, `--fits-gb`, `--unmatched`, `--match`: the models that the sources know."""

from __future__ import annotations

import sys
from typing import Any

from rich.table import Table

from tracker.cli import print_json
from tracker.cli.tables import cell, console, count, plain
from tracker.errors import TrackerError
from tracker.naming import add_match, unmatched
from tracker.settings import load_settings
from tracker.sizing import needed_bytes
from tracker.store import open_snapshot

GB = 1e9
SHOWN = 50  # rows for people; `--json` gives all
NO_MATCH = "none of the {n:,} known models fits; a larger `--fits-gb`?"
EMPTY = "no model is known here yet; `tracker ingest` asks the Hub"


def print_known(filters: dict[str, Any], *, fits_gb: float | None, as_json: bool) -> None:
    """Models of the Hub as last seen, the trending ones first; with `fits_gb` those that fit into so much."""
    if fits_gb is not None and not 0 < fits_gb < 1e6:
        raise TrackerError(f"--fits-gb must be a number of GB, got {fits_gb:g}", hint="--fits-gb 24")
    with open_snapshot(load_settings()) as snapshot:
        rows = snapshot.query("known_models", **filters)
        measured = {row["model_id"].casefold() for row in snapshot.query("models")}
    for row in rows:
        row["needed_bytes"] = needed_bytes(row["weights_bytes"])
        row["is_measured"] = row["name"].casefold() in measured
    n_known = len(rows)
    if fits_gb is not None:
        rows = [
            row for row in rows if row["needed_bytes"] is not None and row["needed_bytes"] <= fits_gb * GB
        ]
    if as_json:
        print_json({"models": plain([_document(row) for row in rows])})
    elif rows:
        console().print(_table(rows[:SHOWN]))
        if len(rows) > SHOWN:
            print(f"{len(rows) - SHOWN:,} more; `--json` lists all", file=sys.stderr)
    else:
        print(NO_MATCH.format(n=n_known) if n_known else EMPTY, file=sys.stderr)


def print_unmatched(*, as_json: bool) -> None:
    """The names that a person must look at, each with the repositories that look like it."""
    found = unmatched(load_settings(), n=None if as_json else SHOWN)
    if as_json:
        names = ("source", "name", "organization", "access", "candidates")
        print_json({"unmatched": [{n: getattr(row, n) for n in names} for row in found]})
        return
    if not found:
        print("every name of an open model is matched, or nothing has been ingested yet", file=sys.stderr)
        return
    table = Table(header_style="bold")
    for name in ("source", "name", "organization", "access", "looks like"):
        table.add_column(name)
    for row in found[:SHOWN]:
        likely = ", ".join(row.candidates) or None
        table.add_row(*map(cell, (row.source, row.name, row.organization, row.access, likely)))
    console().print(table)
    print(
        f"{len(found):,} names; `tracker models --match 'SOURCE:NAME=org/name'` settles one", file=sys.stderr
    )


def settle(pair: str, *, as_json: bool) -> None:
    """Keep what a person says about one name."""
    alias = add_match(load_settings(), pair)
    if as_json:
        print_json({"source": alias.source, "name": alias.name, "model_id": alias.model_id})
    else:
        print(f"`{alias.name}` of {alias.source} is {alias.model_id}")


def _document(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "name", "kind", "n_params", "weights_bytes", "needed_bytes", "license", "gated", "released_at",
        "revision", "downloads", "likes", "trending", "base_models", "needs_remote_code", "is_measured",
        "seen_at",
    )  # fmt: skip
    return {"model_id": row["name"]} | {name: row[name] for name in names if name != "name"}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    for name in (
        "model",
        "parameters",
        "needs about",
        "kind",
        "licence",
        "downloads",
        "released",
        "measured",
    ):
        table.add_column(
            name, justify="right" if name in {"parameters", "needs about", "downloads"} else "left"
        )
    for row in rows:
        needed = row["needed_bytes"]
        table.add_row(
            cell(row["name"]),
            count(row["n_params"]),
            cell(None if needed is None else f"{needed / GB:.1f} GB"),
            cell(row["kind"] + (" (gated)" if row["gated"] else "")),
            cell(row["license"]),
            cell(None if row["downloads"] is None else f"{row['downloads']:,}"),
            cell(None if row["released_at"] is None else f"{row['released_at']:%Y-%m-%d}"),
            cell("yes" if row["is_measured"] else "no"),
        )
    return table
