"""Charts of the model page: the scores of one run, and claimed beside measured scores."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.widgets.chart_theme import themed
from app.widgets.dot_rows import describe_rows, draw_dot_rows, score_axis
from app.widgets.safe_text import percent


def run_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The tasks of one run, in the suite's order: dot, interval and tick of chance.

    Reads `task`, `metric`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`.
    """
    rows = describe_rows(frame, name=frame["task"], mark="")
    return draw_dot_rows(rows, {"name": "task", "metric": "metric"}, name_px=0)


def claim_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One row per claim: the measured score as dot and interval, the claimed one as a diamond.

    Reads `task measured ci_low ci_high claimed n_items`.
    """
    scores = frame.assign(score=frame["measured"], chance=frame["claimed"])
    rows = describe_rows(scores, name=frame["task"], mark="")
    return draw_dot_rows(rows, {"name": "task"}, name_px=0, tick=_claim, tick_title="claimed")


def _claim(base: alt.Chart) -> alt.Chart:
    diamond = base.mark_point(shape="diamond", size=120, strokeWidth=2, opacity=1, filled=False)
    return themed(diamond.encode(x=score_axis("chance")), "ink")


def run_alt(frame: pd.DataFrame) -> str:
    """`run_chart` in words, for screen readers."""
    scores = ", ".join(f"{t} {percent(s)}" for t, s in zip(frame["task"], frame["score"], strict=True))
    return f"Scores of one run with 95% intervals: {scores}"


def claim_alt(frame: pd.DataFrame) -> str:
    """`claim_chart` in words, for screen readers."""
    rows = zip(frame["task"], frame["claimed"], frame["measured"], strict=True)
    pairs = ", ".join(
        f"{task} claimed {percent(claimed)}, measured {percent(here)}" for task, claimed, here in rows
    )
    return f"Claimed and measured scores, measured with 95% intervals: {pairs}"
