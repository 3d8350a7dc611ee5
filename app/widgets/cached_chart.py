"""Render a chart; for the same rows it is built once and kept in its Vega-Lite form.

Building and checking a chart in Python takes a third of a second, most of the time of a page; the checks
against the schema are made by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair
import streamlit as st

KEPT_CHARTS = 256  # some tens of kilobytes each
Chart = altair.Chart | altair.LayerChart


def render(build: Callable[..., Chart], *rows: Any, alt: str, **how: Any) -> None:
    """Render `build(*rows, **how)`; `alt` describes it for screen readers."""
    name = f"{build.__module__}.{build.__qualname__}"
    st.vega_lite_chart(_spec(name, rows, how, _build=build), alt=alt)


@st.cache_resource(max_entries=KEPT_CHARTS, show_spinner=False)
def _spec(
    name: str, rows: tuple[Any, ...], how: Mapping[str, Any], *, _build: Callable[..., Chart]
) -> dict[str, Any]:
    """The chart as a document; the rows are part of the key, so a frame should hold no more than is drawn."""
    return _build(*rows, **how).to_dict(validate=False)
