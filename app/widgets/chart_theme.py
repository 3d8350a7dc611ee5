"""Colors and sizes that every chart uses: the theme's colors, and one gray that suits light and dark."""

from __future__ import annotations

import altair as alt

FONT_PX = 13
GREY = "#8492A0"  # 3:1 on both backgrounds
# of axes and legends, by theme: no one gray is 4.5:1 on both backgrounds
TEXT_COLORS = {"light": "#565F69", "dark": "#B4BCC6"}
TRACK = "#8492A040"  # the same gray at a quarter: visible on white and on near-black
# the places of `chartCategoricalColors` in .streamlit/config.toml; the last one is the color of text
THEME_COLORS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "ink")


def themed(chart: alt.Chart, color: str) -> alt.Chart:
    """`chart` in one of the theme's categorical colors, by its place, so that it follows light and dark."""
    scale = alt.Scale(domain=list(THEME_COLORS))
    return chart.transform_calculate(color=f"'{color}'").encode(
        color=alt.Color(field="color", type="nominal", legend=None, scale=scale)
    )
