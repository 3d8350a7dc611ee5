"""The parts of `tracker frontier` about this machine: models measured here, and the best that fits a card."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from tracker.answers.measured import calibrated_text
from tracker.cli.frontier import interval
from tracker.cli.tables import cell, console, count, months_cell
from tracker.foreign_text import one_line

SHOWN = 20  # rows for people; `--json` gives all
SHOWN_REASONS = 3


def print_measured(document: dict[str, Any]) -> None:
    """Print the models measured here that have a place on the index, and why others have none."""
    rows = document["measured"]
    if rows:
        out = console()
        out.print(Text("measured here"))
        table = Table("model", "suite", "index", "90% interval", "months behind", "calibrated", "from")
        for row in rows[:SHOWN]:
            table.add_row(
                cell(" · ".join(filter(None, (row["model_id"], row["quantization"])))),
                cell(row["suite"]),
                f"{row['index']:.1f}",
                interval(row["ci_low"], row["ci_high"]),
                months_cell(row["months_behind"], row["months_bound"], row["definition"]),
                calibrated_text(row["calibrated"], row["in_range"]),
                f"{row['day_is']} on {row['day']}",
            )
        out.print(table)
        if len(rows) > SHOWN:
            print(f"{len(rows) - SHOWN:,} more measured here; `--json` lists all", file=sys.stderr)
    reasons = Counter(row["reason"] for row in document["not_placed"])
    for reason, n in reasons.most_common(SHOWN_REASONS):
        print(f"{n:,} measured here {one_line(reason)}", file=sys.stderr)


def print_best_that_fits(document: dict[str, Any], unit: str) -> None:
    """Print the best open model that fits the card, each from its release on."""
    found = document["best_that_fits"]
    if found is None:
        return
    out = console()
    out.print(Text(f"best open model that fits {found['memory_gb']:g} GB at {found['bits']:g} bits"))
    table = Table("since", "model", "parameters", "needs about", unit, "90% interval", "months behind")
    digits = 3 if unit == "score" else 1
    for row in found["steps"][-SHOWN:]:
        table.add_row(
            row["released"],
            cell(row["model"]),
            count(row["n_params"]),
            cell(None if row["needed_gb"] is None else f"{row['needed_gb']:.1f} GB"),
            f"{row['value']:.{digits}f}",
            interval(row["ci_low"], row["ci_high"], digits),
            months_cell(row["months_behind"], row["months_bound"], found["definition"]),
        )
    out.print(table)
    print(one_line(found["note"]), file=sys.stderr)
