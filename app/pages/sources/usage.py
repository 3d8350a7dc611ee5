"""Shares of open and closed models in the tokens routed by OpenRouter: one chart, once they are ingested."""

from __future__ import annotations

from datetime import date

import altair as alt
import pandas as pd
import streamlit as st

from app.data import queries
from app.widgets import cached_chart, downloads, safe_text
from app.widgets.chart_theme import TRACK, themed
from tracker.answers.token_share import token_share_document

HEIGHT_PX = 240
NOTE = (
    "Blue: open-weight models. The band above it reaches to the share they would have if every model without"
    " a label were open. Orange: closed models. Counted are tokens of API users, so cheap models weigh much."
)


def show_usage() -> None:
    """Show the shares by day; nothing if they have not been ingested."""
    answer = queries.token_shares()
    if answer is None:
        return
    document = token_share_document(answer)
    frame = pd.DataFrame(document["days"])
    last = document["last_week"]
    st.header("Open-weight models in use", anchor=False)
    st.markdown(
        f"In the week to {document['as_of']}, open-weight models wrote and read **{last['open']:.0%}** of the"
        f" tokens routed by OpenRouter, at most {last['open_high']:.0%}; {document['age_days']} days old."
    )
    day = date.fromisoformat(document["as_of"])
    caption = cached_chart.ChartCaption("Share of the tokens routed by OpenRouter", day, "OpenRouter")
    cached_chart.render(usage_chart, frame, alt=usage_alt(frame), caption=caption)
    st.caption(NOTE)
    st.caption(safe_text.escaped(". ".join([*document["notes"], *document["attribution"]])))
    downloads.download_buttons(frame, what="Shares of tokens", name="token-shares")


def usage_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Both shares as lines by day, and the upper bound of the open one as a band.

    Reads `day open closed open_high`, fractions.
    """
    rows = frame[["day", "open", "closed", "open_high"]].assign(day=pd.to_datetime(frame["day"]))
    base = alt.Chart(rows).encode(
        x=alt.X(field="day", type="temporal", axis=alt.Axis(title=None, grid=False))
    )
    axis = alt.Axis(title="Share of tokens", format="%", gridColor=TRACK, domain=False, ticks=False)

    def share(field: str) -> alt.Y:
        return alt.Y(field=field, type="quantitative", scale=alt.Scale(domain=[0, 1]), axis=axis)

    says = [
        alt.Tooltip(field="day", type="temporal", title="day"),
        *(alt.Tooltip(field=f, type="quantitative", format=".1%", title=f) for f in ("open", "closed")),
    ]
    band = themed(base.mark_area(opacity=0.25).encode(y=share("open"), y2=alt.Y2(field="open_high")), "first")
    lines = [
        themed(base.mark_line(point=True).encode(y=share(group), tooltip=says), color)
        for group, color in (("open", "first"), ("closed", "second"))
    ]
    return alt.LayerChart(layer=[band, *lines], height=HEIGHT_PX)


def usage_alt(frame: pd.DataFrame) -> str:
    """The chart in words."""
    ends = [
        f"open {row['open']:.0%} and closed {row['closed']:.0%} on {row['day']}"
        for _, row in frame.iloc[[0, -1]].iterrows()
    ]
    return f"Shares of tokens on OpenRouter by day: {'; '.join(ends)}"
