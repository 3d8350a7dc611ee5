"""The parts of the page “What changed”."""

from __future__ import annotations

import re
from collections.abc import Container
from urllib.parse import quote

import streamlit as st

from app.data import model_names, queries
from app.data.digests import change_rows, recent_digest
from app.widgets import downloads, safe_text
from tracker.answers.digest_formats import markdown
from tracker.answers.digest_records import Digest, DigestChange, Section, web_address

SPANS = {"7 days": 7, "14 days": 14, "30 days": 30, "90 days": 90}
WEEK = "7 days"
NAME_MARKS = re.compile(r"(?<![^\s(])`|`(?=[\s,.;:)]|$)")  # around a name, not within it
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
    with_page = {*model_names.listed_names(queries.model_ids(), queries.agent_models())}
    with_page |= model_names.hub_model_ids()
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
    said = [f"- {_linked(change, with_page)}" for change in section.changes]
    if section.n > len(section.changes):
        said.append(f"- and {section.n - len(section.changes):,} more")
    st.markdown("\n".join(said))


def _linked(change: DigestChange, with_page: Container[str]) -> str:
    """The change as Markdown: its characters, and a link."""
    text, url = safe_text.escaped(NAME_MARKS.sub("", change.text)), web_address(change.url)
    space = " " if change.text.startswith(" ") else ""
    if change.model is None:
        return text if url is None else f"{text} ([source]({url}))"
    if change.model in with_page:
        url = f"/model?model={quote(change.model, safe='')}"
    name = safe_text.escaped(change.model)
    return (name if url is None else f"[{name}]({url})") + space + text
