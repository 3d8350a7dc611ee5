"""The parts of the page “What changed”."""

from __future__ import annotations

from collections.abc import Container

import streamlit as st

from app.data import model_names
from app.data.digests import change_rows, recent_digest
from app.widgets import downloads, safe_text
from app.widgets.change_lines import linked
from tracker.answers.digest_formats import markdown
from tracker.answers.digest_records import Digest, Section

SPANS = {"7 days": 7, "14 days": 14, "30 days": 30, "90 days": 90}
WEEK = "7 days"
EMPTY = (
    "No changes in this period: run `tracker ingest` to fetch the sources or `tracker bench ORG/NAME` to"
    " measure a model"
)


def choose_span() -> int:
    """The number of days to look back."""
    span = st.segmented_control(
        "Period", list(SPANS), default=WEEK, required=True, key="span", bind="query-params", wrap=True
    )
    return SPANS[span or WEEK]


def show_digest(found: Digest) -> None:
    """Show each kind of change; a model links to its page here, or to where the change can be looked up."""
    with_page = model_names.with_page()
    for section in found.sections:
        if section.n:
            _show_section(section, with_page)
    for credit in found.attributions:
        st.caption(safe_text.escaped(credit))


def show_downloads(days: int) -> None:
    """Download buttons for all changes of the period, including those that the page only counts."""
    downloads.deferred_download_buttons(
        lambda: change_rows(recent_digest(days, most=None)), what="Changes", name="changes"
    )
    st.download_button(
        "Changes as Markdown",
        lambda: markdown(recent_digest(days, most=None)).encode(),
        file_name="changes.md",
        mime="text/markdown",
        key="changes_markdown",
        on_click="ignore",
    )


def _show_section(section: Section, with_page: Container[str]) -> None:
    st.header(f"{section.title} ({section.n:,})", anchor=False)
    said = [f"- {linked(change, with_page)}" for change in section.changes]
    if section.n > len(section.changes):
        said.append(f"- and {section.n - len(section.changes):,} more")
    st.markdown("\n".join(said))
