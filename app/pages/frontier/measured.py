"""Models measured here on the frontier page: points for the chart, a table, and reasons for missing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.data import measured_models, queries
from app.pages.frontier import columns
from app.widgets import downloads, safe_text
from app.widgets.index_columns import months_phrase
from app.widgets.intervals import POLL_S
from tracker.answers.measured import MeasuredAnswer, MeasuredModel, calibrated_text, measured_document
from tracker.frontier.question import Question

NAMED = 8  # points with a label; more would overlap
APART_DAYS, APART_POINTS = 200, 4.0  # two labels closer than both would overlap
SHOWN_REASONS = 4
SHOWN_MODELS = 3  # of each reason


def point_rows(found: MeasuredAnswer | None) -> pd.DataFrame:
    """The points of the chart, the best first: place, interval, texts, address of the page."""
    models = found.newest if found else ()
    has_intervals = found is not None and found.has_intervals
    rows = [
        {
            "model": row.model_id,
            "name": safe_text.visible(row.model_id.rpartition("/")[2] or row.model_id),
            "released": row.day,
            "value": row.placement.index,
            "ci_low": row.placement.ci_low if has_intervals else None,
            "ci_high": row.placement.ci_high if has_intervals else None,
            "says_measured": " · ".join(filter(None, (row.suite, row.quantization))),
            "says_day": f"{'released' if row.released else 'measured'} {row.day:%d %b %Y}",
            "says_months": months_phrase(
                row.placement.months_behind, row.placement.months_bound, row.placement.definition
            ),
            "says_calibrated": calibrated_text(row.placement.calibrated, row.placement.in_range),
            "says_published": safe_text.NOTHING
            if row.published_index is None
            else f"{row.published_index:.1f}",
            "href": address(row),
        }
        for row in models
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(label=_labels(rows)) if rows else frame


def address(row: MeasuredModel) -> str:
    """The address of the model's page at its run, relative to the frontier page."""
    return "model?" + urlencode({"model": row.model_id, "run": row.run_id})


def _labels(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The name of each point, empty where it would overlap the name of a better one."""
    labels: list[str] = []
    named: list[tuple[float, float]] = []
    for row in rows:
        at = (float(pd.Timestamp(str(row["released"])).toordinal()), float(str(row["value"])))
        is_free = all(
            abs(at[0] - day) > APART_DAYS or abs(at[1] - value) > APART_POINTS for day, value in named
        )
        if is_free and len(named) < NAMED:
            named.append(at)
        labels.append(str(row["name"]) if named and named[-1] == at else "")
    return labels


def show_summary(question: Question, found: MeasuredAnswer | None, *, is_on_board: bool) -> None:
    """Say below the chart what its triangles are, or why there are none."""
    if is_on_board or not measured_models.has_scale(question):
        if queries.measured_models():
            st.caption("Models measured here are placed on the whole capability index only.")
        return
    if found is None:
        st.caption("Placing the models measured here…")
        return
    n, n_missing = len(found.newest), len(found.not_placed)
    if n:
        ends = "90% intervals as bars" if found.has_intervals else "intervals are being computed"
        missing = f"; {n_missing:,} more without a place on the index" if n_missing else ""
        st.caption(f"Triangles: {n:,} model{'s'[: n != 1]} measured here, {ends}{missing}. A table is below.")
    elif n_missing:
        st.caption("No model measured here has a place on the index; the reasons are listed below.")
    else:
        st.caption("`tracker bench ORG/NAME` measures a model and puts it on this chart.")


def show_measured(found: MeasuredAnswer | None) -> None:
    """Show the models measured here as a table that opens their pages, and why others have no place."""
    if found is None or not (found.placed or found.not_placed):
        return
    st.header("Measured here", anchor=False)
    if found.newest:
        _show_table(found)
    _show_reasons(found)
    downloads.deferred_download_buttons(
        lambda: _every_row(found), what="Measured models", name="frontier-measured"
    )


def _every_row(found: MeasuredAnswer) -> pd.DataFrame:
    """The placed models, then the others with their reasons."""
    rows = measured_document(found)
    return pd.DataFrame([*rows["measured"], *rows["not_placed"]])


def _show_table(found: MeasuredAnswer) -> None:
    chosen = st.dataframe(
        measured_table(found),
        column_config=columns.MEASURED_COLUMNS,
        placeholder=safe_text.NOTHING,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="measured",
        alt="Models measured here, the best first: index with 90% interval and months behind closed models",
    )
    st.caption(
        f"Months are counted as of {found.as_of:%d %b %Y} where no release date is known. Click a row to open"
        " the model."
    )
    if chosen.selection.rows:
        row = found.newest[chosen.selection.rows[0]]
        st.switch_page("pages/model/page.py", query_params={"model": row.model_id, "run": row.run_id})


def measured_table(found: MeasuredAnswer) -> pd.DataFrame:
    """The placed models as the columns of `MEASURED_COLUMNS`."""
    points = point_rows(found)
    ends = zip(points["ci_low"], points["ci_high"], strict=True)
    return pd.DataFrame(
        {
            "model": points["model"],
            "index": points["value"].round(1),
            "interval": [safe_text.ends(low, high) for low, high in ends],
            "behind": points["says_months"],
            "calibrated": points["says_calibrated"],
            "published": [row.published_index for row in found.newest],
            "measured": points["says_measured"],
            "day": points["says_day"],
            "note": [row.placement.note or None for row in found.newest],
        }
    )


def _show_reasons(found: MeasuredAnswer) -> None:
    reasons = Counter(row.reason for row in found.not_placed)
    for reason, n in reasons.most_common(SHOWN_REASONS):
        names = [row.model_id for row in found.not_placed if row.reason == reason]
        more = f" and {n - SHOWN_MODELS:,} more" if n > SHOWN_MODELS else ""
        listed = ", ".join(map(safe_text.escaped, names[:SHOWN_MODELS]))
        why = safe_text.with_commands(reason.removeprefix("not placed: "))
        st.caption(f"Not placed: {listed}{more}. Reason: {why}")


def await_places(question: Question, shown: MeasuredAnswer | None) -> None:
    """Rerun the page once the places, and then their intervals, are computed; `shown` is on the page."""
    if not measured_models.has_scale(question) or (shown is not None and shown.has_intervals):
        return

    @st.fragment(run_every=POLL_S)
    def look() -> None:
        found = measured_models.measured(question, wait_s=0.0)
        if found is not None and (shown is None or found.has_intervals):
            st.rerun()

    look()
