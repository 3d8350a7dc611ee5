"""Permalinks: what a link asks for and this page cannot give is said, and the page opens without it."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import text

TOLD = "told_link"
SHOWN_CHARS = 60  # of one value


def asked() -> dict[str, list[str]]:
    """The parameters of the link as it came, before a widget takes them."""
    return {key: st.query_params.get_all(key) for key in st.query_params}


def say_ignored(place: DeltaGenerator, wanted: dict[str, list[str]], *, page: str) -> None:
    """Say once per link which of its parameters the widgets of this page did not take."""
    if st.session_state.get(TOLD) == (page, wanted):
        return
    ignored = [
        f"{key}={value}"
        for key, values in wanted.items()
        for value in values
        if value and value.casefold() not in _held(key)
    ]
    if not ignored:
        st.session_state[TOLD] = (page, wanted)
        return
    said = ", ".join(text.escaped(text.clipped(part, SHOWN_CHARS)) for part in ignored)
    place.info(f"This page has nothing for a part of the link, which is left out: {said}")


def _held(key: str) -> set[str]:
    held: Any = st.session_state.get(key)
    values = held if isinstance(held, list | tuple | set) else [held]
    return {str(value).casefold() for value in values if value is not None}
