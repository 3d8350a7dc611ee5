"""Models side by side by published data: their places on the index and the benchmarks that all answered."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.data import frontier_views, published_comparisons
from app.pages.compare import charts, columns, rows
from app.widgets import benchmark_links, cached_chart, downloads, safe_text
from app.widgets.intervals import await_intervals
from tracker.answers.published_comparison import PublishedComparison
from tracker.frontier.question import Question
from tracker.wording import counted

UNPAIRED = (
    "From published scores, which may come from different harnesses. Intervals count the samples of items as"
    " independent; where the number of items is not known there is none."
)
NO_PLACE = "None of these models, or only one, has a place on the index"


def show_published(models: Sequence[str]) -> None:
    """Show those of the models that have a place on the index."""
    named = published_comparisons.on_index(models)
    if len(named) < rows.LEAST:
        st.caption(NO_PLACE)
        return
    found = published_comparisons.comparison(named)
    if not frontier_views.frontier(Question()).has_intervals:
        await_intervals(Question())
    st.header("On the capability index", anchor=False)
    _show_index(found)
    st.header("Published scores", anchor=False)
    _show_benchmarks(found)


def _show_index(found: PublishedComparison) -> None:
    for row in found.index_differences:
        side = "above" if row.difference >= 0 else "below"
        first, second = safe_text.escaped(row.first), safe_text.escaped(row.second)
        ends = (
            f" (90% interval {safe_text.ends(*sorted((abs(row.ci_low), abs(row.ci_high))))})"
            if row.ci_low is not None and row.ci_high is not None and row.ci_low * row.ci_high > 0
            else "" if row.ci_low is None
            else f" (90% interval {safe_text.ends(row.ci_low, row.ci_high)}: no significant difference)"
        )  # fmt: skip
        st.markdown(f"{first} is {abs(row.difference):.1f} points {side} {second}{ends}.")
    table = columns.index_table(found.models)
    chosen = st.dataframe(
        table,
        column_config=columns.INDEX_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="compared_on_index",
        alt="One row per model: index with 90% interval, months behind, size, memory, price, license",
    )
    if chosen.selection.rows:
        one = found.models[chosen.selection.rows[0]]
        st.switch_page("pages/model/page.py", query_params={"model": one.hub_id or one.model})


def _show_benchmarks(found: PublishedComparison) -> None:
    if not found.benchmarks:
        st.caption("No benchmark has a published score of each of these models.")
        return
    models = [row.model for row in found.models]
    scores = columns.benchmark_scores(found)
    st.caption(f"{counted(len(found.benchmarks), 'benchmark')} with scores of all. {UNPAIRED}")
    cached_chart.render(charts.model_legend, models, alt="Legend: " + ", ".join(models))
    caption = cached_chart.ChartCaption(
        "Published scores, 90% intervals", found.vintage, "sources in the table"
    )
    cached_chart.render(
        charts.score_chart,
        scores,
        models,
        level=90,
        alt=charts.score_alt(scores, level=90),
        caption=caption,
    )
    table = columns.benchmark_table(found)
    st.caption("Select a row to open its benchmark.")
    chosen = st.dataframe(
        table,
        column_config=columns.benchmark_columns(models),
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="compared_benchmarks",
        alt="One row per benchmark: the score of each model, the first minus the second",
    )
    benchmark_links.open_selected(chosen, pd.Series(table["benchmark"]))
    downloads.download_buttons(scores, what="Published scores", name="compared-published")
