"""The chart of the leaderboard: the models of one task, best first."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.widgets.dot_rows import SHOWN_MODELS, describe_rows, draw_dot_rows, name_px
from app.widgets.safe_text import percent
from tracker.wording import counted


def task_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The models of one task, best first: a dot for the score, a bar for the interval, a tick for chance.

    Reads `label`, `rank`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`, `engine`.
    """
    rows = frame.head(SHOWN_MODELS)
    rows = describe_rows(rows, name=rows["label"], mark=rows["rank"].astype(str))
    return draw_dot_rows(rows, {"name": "model", "engine": "engine"}, name_px=name_px(rows["mark"]))


def task_alt(task: str, frame: pd.DataFrame) -> str:
    """`task_chart` in words, for screen readers."""
    best, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"{task}: {counted(len(frame), 'model')} ranked by score with 95% intervals, from {best['label']} at"
        f" {percent(best['score'])} to {last['label']} at {percent(last['score'])};"
        f" guessing scores {percent(best['chance'])}"
    )
