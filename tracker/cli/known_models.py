"""`tracker models --known`, `--fits-gb`, `--unmatched`, `--match`: models listed by the sources."""

from __future__ import annotations

import sys
from typing import Any

from rich.table import Table

from tracker.answers.models import check_memory, hub_models
from tracker.cli import print_json
from tracker.cli.tables import INDEX_HEADERS, cell, index_cells, index_note, plain, print_table, size_of
from tracker.foreign_text import one_line
from tracker.ingest.model_aliases import Unmatched, add_match, unmatched
from tracker.memory_estimate import GB
from tracker.settings import load_settings

SHOWN = 50  # rows for people; `--json` gives all
# columns that a narrow terminal lacks, the first of them first
LEAST = ("kind", "index from", "downloads", "license", "measured", "released", "parameters")
LEAST_OF_FITS = ("device", "license", "index from", "basis", "server tokens/s", "tokens/s", "parameters")
NO_MATCH = "none of the {n:,} known models fits; try a larger `--fits-gb`"
NO_FIT = "none of the {n:,} models fits; try a larger `--fits-gb`"
EMPTY = "no models are known yet; `tracker ingest` fetches them from the Hub"


def print_known(filters: dict[str, Any], *, fits_gb: float | None, as_json: bool) -> None:
    """Print the models of the Hub as last ingested, trending first; with `fits_gb` only those that fit."""
    found = hub_models(
        load_settings(),
        license_part=filters["license"],
        max_params=filters["max_params"],
        fits_gb=fits_gb,
    )
    rows = found.answer.records()
    if as_json:
        print_json({"models": plain(rows)})
    elif rows:
        print_table(_table(rows[:SHOWN]), least=LEAST)
        _print_end(rows)
    else:
        print(NO_MATCH.format(n=found.n_known) if found.n_known else EMPTY, file=sys.stderr)


def print_fits(filters: dict[str, Any], *, fits_gb: float, as_json: bool) -> None:
    """Print the models that fit in `fits_gb`: those with a score first, then the larger ones of the Hub."""
    from tracker.answers.fits import Among, fits_document, read_fits
    from tracker.answers.measured_speed import measured_text

    check_memory(fits_gb)
    found = read_fits(load_settings(), memory_gb=fits_gb, among=Among(**filters))
    document = fits_document(found)
    if as_json:
        print_json(document)
        return
    rows = document["models"]
    if not rows:
        print(NO_FIT.format(n=found.n_models) if found.n_models else EMPTY, file=sys.stderr)
        return
    print_table(_fits_table(rows[:SHOWN], found.task), least=LEAST_OF_FITS)
    for row in rows[:SHOWN]:
        if text := measured_text(row):
            print(one_line(f"{row['model_id']}: server {text}"))
    _print_end(rows)


def _print_end(rows: list[dict[str, Any]]) -> None:
    """Print how many rows are not shown, and what the columns of the index mean."""
    from tracker.answers.index_place import INDEX_NOTE

    if len(rows) > SHOWN:
        print(f"{len(rows) - SHOWN:,} more; `--json` lists all", file=sys.stderr)
    if note := index_note(rows[:SHOWN], INDEX_NOTE):
        print(note, file=sys.stderr)


def _fits_table(rows: list[dict[str, Any]], task: str | None) -> Table:
    table = Table(header_style="bold")
    names = (
        "model",
        "needs about",
        task or "score",
        "tokens/s",
        "device",
        "server tokens/s",
        "parameters",
        "license",
        "basis",
    )
    for name in (*names, *INDEX_HEADERS):
        left = {"model", "device", "license", "basis", *INDEX_HEADERS[:2]}
        table.add_column(name, justify="left" if name in left else "right")
    for row in rows:
        score, speed, served = row.get("score"), row.get("tokens_per_s"), row["speed_tokens_per_s"]
        table.add_row(
            cell(row["model_id"]),
            f"{row['needed_bytes'] / GB:.1f} GB",
            cell(None if score is None else f"{score:.1%}"),
            cell(None if speed is None else f"{speed:,.0f}"),
            cell(None if speed is None else row.get("device")),
            cell(None if served is None else f"{served:,.0f}"),
            size_of(row),
            cell(row["license"]),
            cell(row["basis"]),
            *index_cells(row),
        )
    return table


def print_unmatched(*, as_json: bool) -> None:
    """Print the models that a person can match to a repository, the most widely scored first."""
    found = unmatched(load_settings(), n=None if as_json else SHOWN)
    if as_json:
        print_json({"unmatched": [_unmatched_document(row) for row in found]})
        return
    if not found:
        print(
            "no unmatched models: every open model is matched, or nothing has been ingested yet",
            file=sys.stderr,
        )
        return
    table = Table(header_style="bold")
    for name in ("model", "organization", "access", "scores", "sources", "similar to"):
        table.add_column(name, justify="right" if name == "scores" else "left")
    for row in found[:SHOWN]:
        sources = ", ".join(dict.fromkeys(source for source, _ in row.names))
        likely = ", ".join(row.candidates) or None
        organization = row.organization
        table.add_row(
            *map(cell, (row.model, organization, row.access, f"{row.n_benchmarks:,}", sources, likely))
        )
    print_table(table, least=("access", "sources", "organization"))
    print(
        f"{len(found):,} unmatched; `tracker models --match 'MODEL=org/name'` matches all names of a model, "
        "`--match 'SOURCE:NAME=org/name'` a single one",
        file=sys.stderr,
    )


def _unmatched_document(row: Unmatched) -> dict[str, Any]:
    names = ("source", "name", "organization", "access", "candidates", "model", "n_benchmarks")
    return {name: getattr(row, name) for name in names} | {
        "names": [{"source": source, "name": name} for source, name in row.names]
    }


def settle(pair: str, *, as_json: bool) -> None:
    """Store a match given by the user."""
    aliases = add_match(load_settings(), pair)
    if as_json:
        first = aliases[0]
        matched = [{"source": alias.source, "name": alias.name} for alias in aliases]
        print_json(
            {"source": first.source, "name": first.name, "model_id": first.model_id, "matched": matched}
        )
        return
    for alias in aliases:
        print(one_line(f"matched `{alias.name}` from {alias.source} to `{alias.model_id}`"))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(header_style="bold")
    right = {"parameters", "needs about", "downloads", "months behind"}
    names = ("model", "parameters", "needs about", "kind", "license", "downloads", "released", "measured")
    for name in (*names, *INDEX_HEADERS):
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        needed = row["needed_bytes"]
        table.add_row(
            cell(row["model_id"]),
            size_of(row),
            cell(None if needed is None else f"{needed / GB:.1f} GB"),
            cell(row["kind"] + (" (gated)" if row["gated"] else "")),
            cell(row["license"]),
            cell(None if row["downloads"] is None else f"{row['downloads']:,}"),
            cell(None if row["released_at"] is None else f"{row['released_at']:%Y-%m-%d}"),
            cell("yes" if row["is_measured"] else "no"),
            *index_cells(row),
        )
    return table
