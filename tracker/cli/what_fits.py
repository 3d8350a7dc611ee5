"""`tracker fit` without MODEL: the open models that fit a card, best first."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.answers.what_fits import SPEED_ESTIMATE, ModelThatFits, WhatFits, measured_lines
from tracker.cli.tables import print_table
from tracker.foreign_text import one_line
from tracker.memory_estimate import GB

BOUNDS = {"at_least": "≥ ", "at_most": "≤ "}
COLUMNS = ("model", "index", "evidence", "behind at release", "bits", "needs", "tokens/s", "speed", "license")
TEXT_COLUMNS = ("model", "evidence", "speed", "license")
SPEED_WORDS = {SPEED_ESTIMATE: "estimate", None: "–"}  # else measured


def print_what_fits(out: Console, found: WhatFits) -> None:
    """Print the table and what it assumes."""
    card, asked = found.card, found.asked
    title = (
        f"{one_line(card.name)}: {card.memory_gb:,.4g} GB for a model, {asked.context:,} tokens of context"
    )
    out.print(Text(title, style="bold"))
    if not found.rows:
        out.print(f"none of {found.n_models} known models fits")
        return
    table = Table(header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right")
    for row in found.rows:
        table.add_row(*_cells(row))
    print_table(table, least=("license", "speed", "evidence", "bits"), on=out)
    of = f"{len(found.rows)} of {found.n_fitting} that fit, {found.n_models} known"
    out.print(f"{of}; scores as of {found.as_of}; behind: of closed models, on the day of release")
    for line in measured_lines(found):
        out.print(Text(one_line(line)), soft_wrap=True)
    for note in found.notes:
        out.print(Text(f"note: {note}"), soft_wrap=True)


def _cells(row: ModelThatFits) -> tuple[str, ...]:
    months = row.months_behind
    behind = "–" if months is None else f"{BOUNDS.get(row.months_bound or '', '')}{months:.1f} months"
    speed = "–" if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}"
    return (
        one_line(row.model_id),
        "–" if row.index is None else f"{row.index:.1f}",
        row.evidence or "–",
        behind,
        f"{row.bits:g}",
        f"{row.needed_bytes / GB:,.1f} GB",
        speed,
        SPEED_WORDS.get(row.speed_basis, "measured"),
        one_line(row.license or "–"),
    )
