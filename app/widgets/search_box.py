"""The search box of every page: models, benchmarks, pages, and the items of models measured here."""

from __future__ import annotations

import streamlit as st

from app.data import search_entries
from app.widgets import safe_text

KEY, PENDING = "search_everything", "search_chosen"


def show_search() -> None:
    """Show the box; a choice opens its page."""
    found = search_entries.entries()

    def take() -> None:
        st.session_state[PENDING] = st.session_state[KEY]
        st.session_state[KEY] = None  # the box is empty again on the page that it opens

    with st.container(horizontal=True, horizontal_alignment="right", key="search_of_app"):
        st.selectbox(
            "Search models, benchmarks and pages",
            list(found),
            format_func=safe_text.visible,
            index=None,
            key=KEY,
            on_change=take,
            placeholder="Search models, benchmarks, pages",
            label_visibility="collapsed",
            width=320,
        )
    chosen = st.session_state.pop(PENDING, None)
    if chosen in found:
        entry = found[chosen]
        query = {} if entry.parameter is None else {entry.parameter: entry.name}
        st.switch_page(entry.script, query_params=query)
