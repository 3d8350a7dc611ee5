"""Labeled values: short ones side by side, long texts in a box."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app.widgets import safe_text

TALL_LINES = 16  # a longer text scrolls inside its box
TALL_PX = 340


def show_facts(facts: Mapping[str, str]) -> None:
    """Show short values under their labels, side by side where there is room."""
    with st.grid(min_column_width=140):
        for label, value in facts.items():
            with st.container(gap="xxsmall"):
                st.caption(label)
                st.text(safe_text.visible(value))


def show_text(label: str, body: str, *, key: str) -> None:
    """Show a text under its label; a very long one is cut, with the full text to download."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        if not body:
            st.text("(empty)")
            return
        shown = safe_text.visible(safe_text.clipped(body))
        is_tall = shown.count("\n") > TALL_LINES or len(shown) > 80 * TALL_LINES
        # a code box drops one line break at either end, so it gets one to drop
        st.code(f"\n{shown}\n", language=None, wrap_lines=True, height=TALL_PX if is_tall else "content")
        if len(body) > safe_text.SHOWN_CHARS:
            st.caption(f"Showing the first {safe_text.SHOWN_CHARS:,} of {len(body):,} characters")
            st.download_button(
                "Download the full text",
                body.encode(),
                file_name=f"{key}.txt",
                mime="text/plain",
                key=f"whole_{key}",
                on_click="ignore",
            )
