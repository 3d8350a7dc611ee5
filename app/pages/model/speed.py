"""The speed of a model's server: one table per measurement, which belongs to one device and its settings."""

from __future__ import annotations

import shlex

import pandas as pd
import streamlit as st

from app.data import measured_speeds
from app.pages.model.columns import SPEED_COLUMNS
from app.widgets import downloads, safe_text
from tracker.answers.speed import level_table, seconds_text, speed_lines, speed_title

NEWEST = 3  # measurements that are shown; all of them can be downloaded
NO_SPEED = "The speed of its server was not measured here: `tracker bench {model} --speed` measures it."


def show_speeds(model_id: str, *, is_measured: bool) -> None:
    """Show the newest measurements; without one, the command that makes one."""
    found = measured_speeds.model_speeds(model_id)
    if not found:
        if is_measured:
            st.caption(safe_text.with_commands(NO_SPEED.format(model=shlex.quote(model_id))))
        return
    st.header("Speed", anchor=False)
    for place, run in enumerate(found[:NEWEST]):
        title = speed_title(run)
        st.caption(safe_text.escaped(f"{title[0].upper()}{title[1:]}"))
        if run["levels"]:
            rows = [
                {
                    "concurrency": level["concurrency"],
                    "tokens": level["output_tokens_per_s"],
                    "ttft": _with_interval(level, "ttft"),
                    "tpot": _with_interval(level, "tpot"),
                    "e2el": _with_interval(level, "e2el"),
                    "goodput": level["goodput_per_s"],
                    "joules": level["joules_per_token"],
                    "requests": f"{level['n_answered']:,} of {level['n_requests']:,}",
                }
                for level in run["levels"]
            ]
            st.dataframe(
                pd.DataFrame(rows).astype({"joules": "float64"}),
                column_config=SPEED_COLUMNS,
                hide_index=True,
                placeholder="–",
                key=f"speed_{place}",
                alt=f"Speed at each number of requests under way at once: {title}",
            )
        for line in speed_lines(run):
            st.caption(safe_text.escaped(f"{line[0].upper()}{line[1:]}"))
    downloads.deferred_download_buttons(
        lambda: pd.DataFrame(level_table(found)), what="Speeds", name="speeds"
    )


def _with_interval(level: dict[str, float | None], name: str) -> str:
    """A median time, with its 95% interval where there is one."""
    low, high = level[f"{name}_ci_low"], level[f"{name}_ci_high"]
    median = seconds_text(level[f"{name}_s"])
    return median if low is None else f"{median} ({seconds_text(low)} … {seconds_text(high)})"
