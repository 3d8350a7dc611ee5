"""Published data on a model: claims, placement, place on the index, jaggedness, and the scores behind it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.data import frontier_views, placements, queries
from app.pages.model import charts, columns
from app.widgets import benchmark_links, cached_chart, downloads, safe_text
from app.widgets.columns import SHOWN_DECIMALS
from app.widgets.facts import show_facts
from app.widgets.intervals import await_intervals
from tracker.answers.placement import equal_text, newest_placement
from tracker.frontier.definitions import CURRENT_AGE, STANDING_LAG
from tracker.frontier.facts import ModelFacts
from tracker.frontier.jaggedness import Standing
from tracker.frontier.licenses import terms_of
from tracker.frontier.placement import Placement, Unplaced
from tracker.frontier.question import Question

DEFINITION_WORDS = {STANDING_LAG: "at its release", CURRENT_AGE: "today"}
BOUNDS = {"at_least": "at least ", "at_most": "at most "}
VERDICTS = {
    "agrees": "consistent",
    "claimed_higher": "claim is higher than measured",
    "claimed_lower": "claim is lower than measured",
    "unclear": "no interval to compare",
}


def show_published(facts: ModelFacts) -> None:
    """Show who released it and when, its place on the index, and how jagged its scores are."""
    st.header("Capability index", anchor=False)
    found = frontier_views.frontier(Question())
    if not found.has_intervals:
        await_intervals(Question())
    rows = found.points[found.points["model"] == facts.model]
    shown = {
        "Known as": facts.model,
        "Organization": facts.organization,
        "Weights": str(facts.access),
        "Released": f"{facts.released:%d %b %Y}",
        "Parameters": safe_text.count(facts.n_params),
    }
    if not rows.empty:
        row = rows.iloc[0]
        shown |= {
            "Index": f"{row['value']:.1f}",
            "90% interval": safe_text.ends(row["ci_low"], row["ci_high"]),
        }
    show_facts(shown)
    _show_jaggedness(facts.model)
    _show_scores(facts.model)


def _show_jaggedness(model: str) -> None:
    card = frontier_views.jagged(None).get(model)
    if card is None:
        st.caption("Jaggedness needs scores on at least eight benchmarks.")
        return
    st.subheader("Jaggedness", anchor=False)
    show_facts(
        {
            "RMS residual (J1)": f"{100 * card.j1:.1f} points",
            "Normalized RMS residual (J2)": f"{card.j2:.2f}",
            "SD of implied index (J3)": "–" if card.j3 is None else f"{card.j3:.1f}",
            "p-value": f"{card.p_value:.3f}",
            "Benchmarks": str(card.n_benchmarks),
        }
    )
    st.markdown(f"Above its index, in points: {_listed(card.best)}. Below: {_listed(card.worst)}.")


def _listed(standings: Sequence[Standing]) -> str:
    rows = (f"{benchmark_links.linked(row.benchmark)} ({100 * row.residual:+.0f})" for row in standings)
    return ", ".join(rows) or "none"


def _show_scores(model: str) -> None:
    """Show every published score behind the index, with its source."""
    known = frontier_views.tables()
    newest = known.vintages[-1]
    rows = [row for row in known.scores if row.model == model and row.vintage == newest]
    if not rows:
        return
    frame = pd.DataFrame(
        {
            "benchmark": [row.benchmark for row in rows],
            "score": [
                round(row.score if row.raw_score is None else row.raw_score, SHOWN_DECIMALS) for row in rows
            ],
            "model_version": [row.model_version for row in rows],
            "reported_by": [str(row.reported_by) for row in rows],
            "source": [row.source for row in rows],
            "source_url": [row.source_url for row in rows],
            "license": [terms_of(row).license for row in rows],
            "evaluated_on": [row.evaluated_on for row in rows],
        }
    ).sort_values("benchmark", key=lambda names: names.str.casefold(), ignore_index=True)
    st.subheader("Published scores", anchor=False)
    st.caption("Select a row to open its benchmark.")
    chosen = st.dataframe(
        frame.assign(reported_by=frame["reported_by"].str.replace("_", " ")),
        column_config=columns.PUBLISHED_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="published_scores",
        alt=f"Published scores of {model}, one row per benchmark, with their sources",
    )
    benchmark_links.open_selected(chosen, frame["benchmark"])
    downloads.download_buttons(frame, what="Published scores", name="published-scores")


def show_placement(runs: Sequence[dict[str, Any]]) -> None:
    """Show where the newest run that can be placed puts the model on the index, or why there is none."""
    scored = [run["run_id"] for run in runs if run["status"] in ("complete", "partial")]
    if not scored:
        return
    st.header("Placement", anchor=False)
    _, found = newest_placement(scored, partial(placements.run_placement, queries.snapshot())) or ("", None)
    if found is None:
        st.caption("Computing the placement…")
        await_intervals(Question())
    elif isinstance(found, Unplaced):
        st.caption(safe_text.with_commands(_sentence(found.reason)))
    else:
        _show_place(found)


def _show_place(found: Placement) -> None:
    behind = f"{BOUNDS.get(found.months_bound or '', '')}{safe_text.months(found.months_behind)}"
    show_facts(
        {
            "Index": f"{found.index:.1f}",
            "90% interval": safe_text.ends(found.ci_low, found.ci_high),
            f"Lag behind closed models {DEFINITION_WORDS[found.definition]} ({found.definition})": behind,
            "90% interval (months)": safe_text.ends(found.months_ci_low, found.months_ci_high),
            "Based on": ", ".join(found.tasks),
        }
    )
    if equal := equal_text(found):
        st.caption(safe_text.escaped(_sentence(equal)))
    if found.note:
        st.caption(safe_text.with_commands(_sentence(found.note)))


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def show_claims(model_id: str) -> None:
    """Show each claim beside the score measured here on the same task."""
    pairs = queries.claimed_and_measured(model_id)
    if pairs.empty:
        return
    st.header("Claimed vs. measured", anchor=False)
    caption = cached_chart.ChartCaption(
        f"{safe_text.visible(model_id)}: claimed and measured scores",
        None,
        f"{cached_chart.HERE}; claims: see table",
    )
    cached_chart.render(charts.claim_chart, pairs, alt=charts.claim_alt(pairs), caption=caption)
    shown = pairs.assign(
        claimed=pairs["claimed"].round(SHOWN_DECIMALS),
        measured=pairs["measured"].round(SHOWN_DECIMALS),
        verdict=pairs["verdict"].map(VERDICTS),
        interval=[
            safe_text.interval(low, high) for low, high in zip(pairs["ci_low"], pairs["ci_high"], strict=True)
        ],
        by=pairs["reporter"].fillna(pairs["reported_by"].str.replace("_", " ")),
    )
    st.dataframe(
        shown[list(columns.CLAIM_CHECK_COLUMNS)],
        column_config=columns.CLAIM_CHECK_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="One row per claim: claimed score, measured score with 95% interval, verdict, source",
    )
    downloads.download_buttons(pairs, what="Claims", name="claimed-and-measured")
