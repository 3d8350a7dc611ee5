"""The list of all benchmarks, with its filters."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.data import benchmarks
from app.pages.benchmarks import columns
from app.widgets import downloads
from tracker.answers.benchmarks import BenchmarkSummary
from tracker.wording import counted

EVERY_DOMAIN, EITHER = "All domains", "Public and private"
ITEMS = {EITHER: None, "Private items": True, "Public items": False}
HERE = "Can be run here"


def show_all(rows: tuple[BenchmarkSummary, ...]) -> None:
    """Show one row per benchmark; a row opens its page."""
    frame = benchmarks.frame(rows)
    shown = _narrowed(frame)
    if shown.empty:
        st.info("No benchmarks match these filters")
        return
    st.caption(f"{counted(len(shown), 'benchmark')} of {len(frame):,}. Select a row to open it.")

    def open_row() -> None:
        selected = st.session_state["benchmark_rows"].selection.rows
        if selected:
            st.session_state[benchmarks.PARAMETER] = shown["benchmark"].iloc[selected[0]]

    st.dataframe(
        columns.list_rows(shown),
        column_config=columns.LIST_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select=open_row,
        selection_mode="single-row",
        key="benchmark_rows",
        alt="One row per benchmark: how far it is solved, months behind, best open and closed model",
    )
    downloads.download_buttons(shown, what="Benchmarks", name="benchmarks")


def _narrowed(frame: pd.DataFrame) -> pd.DataFrame:
    with st.container(horizontal=True, vertical_alignment="bottom", key="benchmark_filters"):
        words = st.text_input("Name or content", key="about", bind="query-params")
        domains = [EVERY_DOMAIN, *sorted(frame["domain"].unique())]
        domain = st.selectbox("Domain", domains, key="domain", bind="query-params")
        is_private = ITEMS[st.selectbox("Items", list(ITEMS), key="items_are", bind="query-params")]
        is_local = st.checkbox(HERE, key="local", bind="query-params")
    keep = (frame["benchmark"] + " " + frame["asks"]).str.contains(words or "", case=False, regex=False)
    keep &= True if domain == EVERY_DOMAIN else frame["domain"] == domain
    keep &= True if is_private is None else frame["is_private"] == is_private
    keep &= frame["lm_eval_task"].notna() if is_local else True
    return frame[keep].reset_index(drop=True)
