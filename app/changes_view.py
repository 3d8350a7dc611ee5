"""The parts of the page of changes."""

from __future__ import annotations

import re

import streamlit as st

from app import downloads, text
from app.digests import changed, lines
from tracker.digest import Digest, Section
from tracker.digest_forms import markdown

SPANS = {"7 days": 7, "14 days": 14, "30 days": 30, "90 days": 90}
WEEK = "7 days"
NAME_MARKS = re.compile(r"(?<![^\s(])`|`(?=[\s,.;:)]|$)")  # around a name, not within it
EMPTY = "Nothing changed in this time: `tracker ingest` asks the sources, `tracker bench ORG/NAME` measures"


def choose_span() -> int:
    """The number of days to look back."""
    span = st.segmented_control(
        "In the last", list(SPANS), default=WEEK, required=True, key="span", bind="query-params", wrap=True
    )
    return SPANS[span or WEEK]


def show(found: Digest) -> None:
    """Show each kind of change with its lines, as the characters that they are."""
    for section in found.sections:
        if section.n:
            _show_section(section)
    for credit in found.attributions:
        st.caption(text.escaped(credit))


def hand_over(days: int) -> None:
    """Buttons for every change of so many days, those too that the page only counts."""
    downloads.buttons_for(lambda: lines(changed(days, most=None)), what="Changes", name="changes")
    st.download_button(
        "Changes as Markdown",
        lambda: markdown(changed(days, most=None)).encode(),
        file_name="changes.md",
        mime="text/markdown",
        key="changes_markdown",
        on_click="ignore",
    )


def _show_section(section: Section) -> None:
    st.header(f"{section.title} ({section.n:,})", anchor=False)
    said = [f"- {text.escaped(NAME_MARKS.sub('', line))}" for line in section.lines]
    if section.n > len(section.lines):
        said.append(f"- and {section.n - len(section.lines):,} more")
    st.markdown("\n".join(said))
