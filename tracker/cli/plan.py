"""`tracker plan MODEL`: the smallest card that would run a model."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from tracker.answers.card_plan import CardPlan, answer_card_plan, card_plan_document, measured_plan_lines
from tracker.answers.what_fits import WhatFitsAsked
from tracker.cli import print_json
from tracker.cli.help import JsonFlag
from tracker.cli.tables import console
from tracker.cli.what_fits import SPEED_WORDS
from tracker.foreign_text import one_line
from tracker.memory_estimate import GB, SHORT_CONTEXT
from tracker.settings import load_settings


def plan(
    model: str,
    *,
    bits: float | None = None,
    context: int = SHORT_CONTEXT,
    limit: int | None = None,
    json: JsonFlag = False,
) -> None:
    """Show the smallest cards that would run a model, at 4, 8 and 16 bits.

    Works offline, for the models that are shipped with the program or that an ingest saw. Cards are ordered
    by memory; speed is the one measured on a card (`tracker bench MODEL --speed`), else estimated from its
    bandwidth.

    Parameters
    ----------
    model
        Hub id, or its part after the slash.
    bits
        Only at this many bits of a weight.
    context
        Context length in tokens.
    limit
        At most this many cards for each number of bits; default: 5.
    """
    found = answer_card_plan(model, WhatFitsAsked(context, bits, limit=limit), load_settings())
    if json:
        print_json(card_plan_document(found))
    else:
        _print(found)


def _print(found: CardPlan) -> None:
    out, model = console(), found.model
    size = f"{model.n_params / 1e9:.3g}B parameters"
    out.print(Text(f"{one_line(model.model_id)}: {size}, {found.context:,} tokens", style="bold"))
    if not found.rows:
        out.print("no machine with up to 8 of the known cards holds it")
        return
    table = Table(header_style="bold")
    for name in ("bits", "needs", "card", "memory", "tokens/s", "speed"):
        table.add_column(name, justify="left" if name in ("card", "speed") else "right")
    for row in found.rows:
        card = row.card if row.n_cards == 1 else f"{row.n_cards}× {row.card}"
        speed = "–" if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}"
        needs = f"{row.needed_bytes / GB:,.1f} GB"
        basis = SPEED_WORDS.get(row.speed_basis, "measured")
        table.add_row(f"{row.bits:g}", needs, card, f"{row.memory_gb:g} GB", speed, basis)
    out.print(table)
    for line in measured_plan_lines(found):
        out.print(Text(one_line(line)), soft_wrap=True)
    out.print(f"ordered by memory (basis: {found.memory_basis}); prices are not known here")
