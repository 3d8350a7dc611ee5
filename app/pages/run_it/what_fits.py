"""What can I run: the open models of the catalog that fit the card, best first, measured or not."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import streamlit as st

from app.data.what_fits import what_fits
from app.pages.run_it import columns
from app.widgets import downloads, safe_text, url_select
from tracker.answers.cards import cards_with
from tracker.answers.what_fits import WhatFits, WhatFitsAsked


def show_what_fits(memory_gb: float, context: int) -> None:
    """Show the catalog for the memory of the card; a named card has a speed too."""
    st.header("What can I run?", anchor=False)
    any_card = f"any with {memory_gb:g} GB"
    name = url_select.select_one("Graphics card", [any_card, *cards_with(memory_gb)], key="gpu")
    found = what_fits(None if name == any_card else name, memory_gb, WhatFitsAsked(context))
    if not found.rows:
        st.info(f"None of the {found.n_models:,} models of the catalog fits")
        return
    of = f"{found.n_fitting:,} of the {found.n_models:,} open models of the catalog fit, best first by index."
    st.caption(f"{of} Scores as of {found.as_of}.")
    st.dataframe(
        columns.catalog_table(found),
        column_config=columns.CATALOG_COLUMNS,
        placeholder=safe_text.NOTHING,
        hide_index=True,
        alt=f"The open models that fit {found.card.name}, the best first",
    )
    for note in found.notes:
        st.caption(safe_text.escaped(f"{note[:1].upper()}{note[1:]}."))
    downloads.deferred_download_buttons(
        lambda: _rows(found), what="What fits", name=f"what-fits-{memory_gb:g}gb"
    )


def _rows(found: WhatFits) -> pd.DataFrame:
    """The rows with all their columns, the copies as one text."""
    rows = [asdict(row) | {"copies": " ".join(row.copies)} for row in found.rows]
    return pd.DataFrame(rows).drop(columns="needed_bytes_by_bits")
