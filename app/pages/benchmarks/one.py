"""Everything about one benchmark: what it asks, how far it is solved, who leads it, how to run it here."""

from __future__ import annotations

from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.data import benchmarks, model_names, queries
from app.pages.benchmarks import charts, columns
from app.widgets import cached_chart, downloads, safe_text
from app.widgets.facts import show_facts
from tracker.answers.benchmarks import BenchmarkAnswer
from tracker.frontier.definitions import STANDING_LAG

STALE = "no open model of the last 14 months has a score, so the lag may say more about who was evaluated"
NOT_HERE = "No task of lm-eval asks this benchmark, so it cannot be run here."
SHOWN_MEASURERS = 5
MODEL_PAGE, BOARD_PAGE = "pages/model/page.py", "pages/leaderboard/page.py"


def show_benchmark(found: BenchmarkAnswer) -> None:
    """Show the benchmark from the question to the single score."""
    st.markdown(safe_text.escaped(found.summary.asks))
    said = found.age.text
    st.caption(safe_text.escaped(said[:1].upper() + said[1:]))
    _show_headline(found)
    _show_facts(found)
    frame = benchmarks.score_frame(found)
    st.header("Scores over time", anchor=False)
    shown = frame[frame["access"] != "unknown"]
    cached_chart.render(
        charts.score_chart,
        shown.assign(href=_addresses(shown["model"]))[[*charts.READS]],
        chance=found.facts.chance,
        ceiling=found.facts.ceiling,
        as_of=found.vintage,
        caption=cached_chart.ChartCaption(
            f"Scores on {found.summary.benchmark}", found.vintage, cached_chart.EPOCH
        ),
        alt=charts.score_alt(found.summary.benchmark, shown),
    )
    st.caption("Click a point to open its model.")
    st.header("Run it here", anchor=False)
    _show_how_to_run(found)
    st.header("All scores", anchor=False)
    _show_measurers(found)
    _show_scores(found, frame)


def _show_headline(found: BenchmarkAnswer) -> None:
    lag, row = found.lag, found.summary
    if lag is None or lag.value is None:
        group = "open" if row.best_open is None else "closed"
        st.header(f"No {group} model has a score", anchor=False)
        return
    side = "behind" if lag.value >= 0 else "ahead"
    st.header(f"Open models are {side} by {safe_text.months(abs(lag.value))}", anchor=False)
    if lag.ci_low is None:
        said = f"no interval: {lag.note}"
    else:
        said = f"90% interval {safe_text.ends(lag.ci_low, lag.ci_high)} months"
    parts = [f"{STANDING_LAG}, by release dates", said, *([STALE] if row.is_stale else [])]
    st.caption(safe_text.escaped("; ".join(parts)))
    known = model_names.with_page()
    with st.container(horizontal=True):
        for group, model, score in (
            ("open", row.best_open, row.best_open_score),
            ("closed", row.best_closed, row.best_closed_score),
        ):
            if model is not None and model in known:
                label = f"Best {group}: {safe_text.escaped(model)}, {safe_text.percent(score)}"
                st.page_link(MODEL_PAGE, label=label, query_params={"model": model}, width="content")


def _show_facts(found: BenchmarkAnswer) -> None:
    facts, row = found.facts, found.summary
    shown = {
        "Saturation": f"{row.state}, {safe_text.percent(row.solved)} solved",
        "Items": columns.items_phrase(row.n_items, is_private=row.is_private),
        "Domain": row.domain,
        "Guessing gives": safe_text.percent(facts.chance),
    }
    if facts.ceiling < 1.0:
        shown["Highest possible"] = safe_text.percent(facts.ceiling)
    if row.released:
        shown["Published"] = f"{row.released:%d %b %Y}"
    show_facts(shown | {"Models with a score": f"{row.n_models:,}"})
    if facts.url:
        st.markdown(f"[Source of the benchmark]({facts.url})")
    if facts.superseded_by and (link := benchmarks.address(facts.superseded_by)):
        st.markdown(f"Replaced by [{safe_text.escaped(facts.superseded_by)}]({link})")
    if facts.notes:
        st.caption(safe_text.escaped(f"Note: {facts.notes}"))


def _show_how_to_run(found: BenchmarkAnswer) -> None:
    if found.command is None:
        st.caption(NOT_HERE)
        return
    st.code(found.command, language="bash", wrap_lines=True)
    if found.suites:
        st.caption(safe_text.escaped(f"Also part of the suites {', '.join(found.suites)}."))
    task = found.summary.lm_eval_task
    for row in queries.board_tasks():
        if row["task"] == task:
            label = f"View the models measured here on {safe_text.escaped(row['task'])} ({row['suite']})"
            query = {"suite": row["suite"], "task": row["task"]}
            st.page_link(BOARD_PAGE, label=label, query_params=query)


def _show_measurers(found: BenchmarkAnswer) -> None:
    said = [f"{who} ({n:,})" for who, n in found.measured_by[:SHOWN_MEASURERS]]
    if (rest := len(found.measured_by) - SHOWN_MEASURERS) > 0:
        said.append(f"{rest:,} others")
    st.caption(safe_text.escaped(f"Measured by {', '.join(said)}. Select a row to open its model."))


def _show_scores(found: BenchmarkAnswer, frame: pd.DataFrame) -> None:
    chosen = st.dataframe(
        columns.score_rows(frame),
        column_config=columns.SCORE_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="benchmark_scores",
        alt=f"Published scores on {found.summary.benchmark}, one row per model, with their sources",
    )
    if chosen.selection.rows:
        model = frame["model"].iloc[chosen.selection.rows[0]]
        if model in model_names.with_page():
            st.switch_page(MODEL_PAGE, query_params={"model": model})
    dated = frame.assign(data_of=found.vintage.isoformat(), age_days=found.age.age_days)
    downloads.download_buttons(dated, what="Scores", name="benchmark-scores")


def _addresses(models: pd.Series[str]) -> list[str]:
    known = model_names.with_page()
    return [f"model?{urlencode({'model': one})}" if one in known else "" for one in models]
