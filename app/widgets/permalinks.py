"""Permalinks: name the parameters of a link that the page cannot use, and open the page without them."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.widgets import safe_text

REPORTED = "reported_link"
SHOWN_CHARS = 60  # of one value
OLD_PARAMETERS = {"licence": "license"}  # old links keep working until the release after 0.1


def rename_old_parameters() -> None:
    """Give the parameters of an old link their present names."""
    for old, new in OLD_PARAMETERS.items():
        if old in st.query_params:
            st.query_params[new] = st.query_params.get_all(old)
            del st.query_params[old]


def requested_parameters() -> dict[str, list[str]]:
    """The parameters of the link as it came, before a widget takes them."""
    return {key: st.query_params.get_all(key) for key in st.query_params}


def report_ignored(place: DeltaGenerator, requested: dict[str, list[str]], *, page: str) -> None:
    """Name, once per link, the parameters that no widget of this page took."""
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
    place.info(f"Ignored parts of the link that do not apply to this page: {listed}")


def _held(key: str) -> set[str]:
    held: Any = st.session_state.get(key)
    values = held if isinstance(held, list | tuple | set) else [held]
    return {str(value).casefold() for value in values if value is not None}
