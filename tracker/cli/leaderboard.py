"""`tracker leaderboard`: rank the models measured here by one task."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.answers.options import param_limit
from tracker.cli import print_json
from tracker.cli.help import FILTERS, JsonDocument
from tracker.cli.tables import INDEX_HEADERS, cell, console, index_cells, index_note, print_table
from tracker.foreign_text import one_line
from tracker.records.origins import IMPORTED
from tracker.settings import load_settings

SHOWN = 50  # rows for people; `--json` gives all
# columns that a narrow terminal lacks, the first of them first
LEAST = ("device", "needs about", "index from", "tokens/s", "items", INDEX_HEADERS[0])


def leaderboard(
    *,
    suite: str | None = None,
    task: str | None = None,
    fits_gb: Annotated[float | None, Parameter(group=FILTERS)] = None,
    max_params: Annotated[str | None, Parameter(group=FILTERS)] = None,
    as_json: JsonDocument = False,
) -> None:
    """Rank the models measured here by one task; models that share a rank are not significantly different.

    With each model's place on the capability index and its months behind closed models, if it has one.

    Parameters
    ----------
    suite
        Suite; default: the one with the most scores.
    task
        Task to rank by; default: the first of the suite.
    fits_gb
        Only models that need at most N GB of memory (10^9 bytes) for a short context.
    max_params
        Only models with at most N parameters, e.g. 8B.
    as_json
        Print one JSON document: `suite`, `task`, `models`, and for a suite of episodes, such as `tools` or
        `home`, `episodes`: what success costs, and what is lost where devices must be discovered.
    """
    from tracker.answers.index_place import INDEX_NOTE
    from tracker.answers.leaderboard import (
        RANK_NOTE,
        Narrowing,
        leaderboard_document,
        read_leaderboard,
    )
    from tracker.cli.leaderboard_episodes import print_episodes

    narrowing = Narrowing(fits_gb=fits_gb, max_params=param_limit(max_params))
    found = read_leaderboard(load_settings(), suite=suite, task=task, by=narrowing)
    if as_json:
        print_json(leaderboard_document(found))
        return
    console().print(Text(f"{found.suite}, ranked by {found.task}"))
    rows = found.rows.to_dict("records")
    print_table(_table(rows[:SHOWN]), least=LEAST)
    for row in rows[:SHOWN]:
        if row["basis"] == IMPORTED:
            print(one_line(f"{row['label']}: {row['origin_note']}"))
    if len(rows) > SHOWN:
        print(f"{len(rows) - SHOWN:,} more; `--json` lists all", file=sys.stderr)
    if found.episodes is not None:
        print_episodes(found.episodes)
    print(RANK_NOTE, file=sys.stderr)
    if note := index_note(rows[:SHOWN], INDEX_NOTE):
        print(note, file=sys.stderr)


def _table(rows: list[dict[Any, Any]]) -> Table:
    table = Table(header_style="bold")
    names = ("rank", "model", "score", "95% interval", "items", "needs about", "tokens/s", "device")
    for name in (*names, *INDEX_HEADERS):
        table.add_column(name, justify="left" if name in ("model", "device", *INDEX_HEADERS[:2]) else "right")
    for row in rows:
        low, high = row["ci_low"], row["ci_high"]
        table.add_row(
            str(row["rank"]),
            cell(row["label"]),
            f"{row['score']:.1%}",
            cell(None if low is None or low != low else f"{low:.1%} … {high:.1%}"),  # noqa: PLR0124
            f"{row['n_items']:,}",
            _gigabytes(row["needed_bytes"]),
            cell(None if not row["tokens_per_s"] > 0 else f"{row['tokens_per_s']:,.0f}"),
            cell(row["device"] if isinstance(row["device"], str) else None),
            *index_cells(row),
        )
    return table


def _gigabytes(value: float) -> Text:
    return cell(f"{value / 1e9:.1f} GB" if value > 0 else None)
