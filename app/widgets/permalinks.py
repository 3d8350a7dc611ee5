"""Permalinks: name the parameters of a link that the page cannot use, and open the page without them."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.widgets import safe_text

REPORTED = "reported_link"
PENDING = "link_of_page"  # the page that has not reported yet, and the parameters of its link
SAID = "said_of_link"  # the page, its parameters without the ignored ones, and what was said
SHOWN_CHARS = 60  # of one value
OLD_PARAMETERS = {"licence": "license"}  # old links keep working until the release after 0.1


def rename_old_parameters() -> None:
    """Give the parameters of an old link their present names."""
    for old, new in OLD_PARAMETERS.items():
        if old in st.query_params:
            st.query_params[new] = st.query_params.get_all(old)
            del st.query_params[old]


def requested_parameters(page: str) -> dict[str, list[str]]:
    """The parameters of the link as it came, before a widget takes them.

    If the page reran itself before it could report, they are those of its first run: widgets have removed
    what they could not use since.
    """
    now = _parameters()
    of_page, before = st.session_state.get(PENDING, ("", {}))
    is_same = of_page == page and all(before.get(key) == values for key, values in now.items())
    asked: dict[str, list[str]] = before if is_same else now
    st.session_state[PENDING] = (page, asked)
    return asked


def _parameters() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def report_ignored(place: DeltaGenerator, requested: dict[str, list[str]], *, page: str) -> None:
    """Name the parameters of a link that no widget of this page took, until the reader changes one."""
    st.session_state.pop(PENDING, None)
    said = st.session_state.get(SAID)
    if said is not None and said[:2] == (page, requested):  # a rerun of the page by itself
        place.info(said[2])
        return
    if st.session_state.get(REPORTED) == (page, requested):
        return
    ignored = [
        f"{key}={value}"
        for key, values in requested.items()
        for value in values
        if value and value.casefold() not in _held(key)
    ]
    if not ignored:
        st.session_state[REPORTED] = (page, requested)
        return
    listed = ", ".join(safe_text.escaped(safe_text.clipped(part, SHOWN_CHARS)) for part in ignored)
    text = f"Ignored parts of the link that do not apply to this page: {listed}"
    st.session_state[SAID] = (page, _parameters(), text)
    place.info(text)


def _held(key: str) -> set[str]:
    held: Any = st.session_state.get(key)
    values = held if isinstance(held, list | tuple | set) else [held]
    return {str(value).casefold() for value in values if value is not None}
