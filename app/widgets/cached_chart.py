"""Render a chart; for the same rows it is built once and kept in its Vega-Lite form.

Building and checking a chart in Python takes a third of a second, most of the time of a page; the checks
against the schema are made by the tests. A picture that a reader saves is the chart alone, so its title, the
day of its data and their source are in the chart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import altair
import streamlit as st

from app.widgets.chart_theme import FONT_PX, TEXT_COLORS
from tracker.records.origins import IMPORTED

KEPT_CHARTS = 256  # some tens of kilobytes each
Chart = altair.Chart | altair.LayerChart
CAPTION_PX = 44
HERE = "measured on this machine"
EPOCH = "Epoch AI (CC BY 4.0, modified)"
PROGRAM = "Open-weight tracker"


def source_of(are_imported: Iterable[bool]) -> str:
    """Who measured the rows of a chart, of which these were imported."""
    kinds = set(are_imported)
    return IMPORTED if kinds == {True} else f"{HERE}; some {IMPORTED}" if True in kinds else HERE


@dataclass(frozen=True, slots=True)
class ChartCaption:
    """What stands above a chart: its title, the day of its data, who published them."""

    title: str
    day: date | None = None
    source: str = HERE

    @property
    def lines(self) -> list[str]:
        """The line below the title."""
        of_day = "" if self.day is None else f"data of {self.day.day} {self.day:%b %Y}"
        return [" · ".join(filter(None, (of_day, self.source, PROGRAM)))]


def render(
    build: Callable[..., Chart], *rows: Any, alt: str, caption: ChartCaption | None = None, **how: Any
) -> None:
    """Render `build(*rows, **how)`; `alt` describes it for screen readers."""
    name = f"{build.__module__}.{build.__qualname__}"
    spec = _spec(name, rows, how, _build=build)
    st.vega_lite_chart(captioned(spec, caption, theme=st.context.theme.type), alt=alt)


def captioned(spec: Mapping[str, Any], caption: ChartCaption | None, *, theme: str | None) -> dict[str, Any]:
    """The chart with its caption, and with labels that can be read on the background of the theme."""
    color = TEXT_COLORS.get(theme or "")
    labels = {} if color is None else {"labelColor": color, "titleColor": color}
    config: dict[str, Any] = dict(spec.get("config", {})) | {"axis": labels, "legend": labels}
    shown = {**spec, "config": config}
    if caption is not None:
        if isinstance(spec.get("height"), int | float):
            shown["height"] = spec["height"] + CAPTION_PX  # the browser takes the title out of the height
        shown["title"] = {
            "text": caption.title,
            "subtitle": caption.lines,
            "anchor": "start",
            "fontSize": FONT_PX + 1,
            "subtitleFontSize": FONT_PX - 2,
            **({} if color is None else {"color": color, "subtitleColor": color}),
        }
    return shown


@st.cache_resource(max_entries=KEPT_CHARTS, show_spinner=False)
def _spec(
    name: str, rows: tuple[Any, ...], how: Mapping[str, Any], *, _build: Callable[..., Chart]
) -> dict[str, Any]:
    """The chart as a document; the rows are part of the key, so a frame should hold no more than is drawn."""
    return _build(*rows, **how).to_dict(validate=False)
