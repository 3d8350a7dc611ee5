"""What is published of a model: facts, place on the index, how uneven it is, every score behind that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import charts, downloads, drawing, frontier_data, frontier_view, placements, queries, tables, text
from app.model_view import show_facts
from app.tables import SHOWN_DECIMALS
from tracker.frontier.facts import ModelFacts
from tracker.frontier.jaggedness import Standing
from tracker.frontier.placement import Placement, Unplaced
from tracker.frontier.question import Question

DEFINITION_WORDS = {"G3": "at its release", "G6": "today"}
BOUNDS = {"at_least": "at least ", "at_most": "at most "}
VERDICTS = {
    "agrees": "agrees",
    "claimed_higher": "claim is higher than measured",
    "claimed_lower": "claim is lower than measured",
    "unclear": "no interval to compare with",
}


def names(measured: Sequence[str], agents: Sequence[str] = ()) -> list[str]:
    """The models to choose from: measured here, then only agents, then of the index by its names."""
    here = list(dict.fromkeys([*measured, *agents]))
    published = (row.model for row in frontier_data.tables().models.values() if row.model not in here)
    return [*here, *sorted(published, key=str.casefold)]


def on_index(name: str) -> ModelFacts | None:
    """The published model of that name, or whose weights are that repository."""
    known = frontier_data.tables().models
    if name in known:
        return known[name]
    return next((row for row in known.values() if (row.hub_id or "").casefold() == name.casefold()), None)


def measured_as(name: str, measured: Sequence[str]) -> str:
    """Under which id a model is measured here: the repository of a published one, else the name itself."""
    facts = on_index(name)
    hub_id = (facts.hub_id or "").casefold() if facts else ""
    return next((one for one in measured if one.casefold() == hub_id), name)


def repository_of(name: str, agents: Sequence[str]) -> str | None:
    """Where on the Hub the weights of a model are that was an agent here; None if that is not known."""
    is_on_hub = name in agents and name.count("/") == 1 and not name.startswith("local/")
    return name if is_on_hub else None


def show_published(facts: ModelFacts) -> None:
    """Show who made it and when, its place on the index, and how uneven it is."""
    st.header("On the index", anchor=False)
    found = frontier_data.frontier(Question())
    if not found.has_intervals:
        frontier_view.await_intervals(Question())
    rows = found.points[found.points["model"] == facts.model]
    said = {
        "Known as": facts.model,
        "By": facts.organization,
        "Weights": str(facts.access),
        "Released": f"{facts.released:%d %b %Y}",
        "Parameters": text.count(facts.n_params),
    }
    if not rows.empty:
        row = rows.iloc[0]
        said |= {"Index": f"{row['value']:.1f}", "90 % interval": text.ends(row["ci_low"], row["ci_high"])}
    show_facts(said)
    _show_jaggedness(facts.model)
    _show_scores(facts.model)


def _show_jaggedness(model: str) -> None:
    card = frontier_data.jagged(None).get(model)
    if card is None:
        st.caption("How uneven it is cannot be said: fewer than eight benchmarks.")
        return
    st.subheader("How uneven it is", anchor=False)
    show_facts(
        {
            "Stray of scores (J1)": f"{100 * card.j1:.1f} points",
            "In units of each benchmark (J2)": f"{card.j2:.2f}",
            "Spread of implied index (J3)": "–" if card.j3 is None else f"{card.j3:.1f}",
            "Chance of as much (p)": f"{card.p_value:.3f}",
            "Benchmarks": str(card.n_benchmarks),
        }
    )
    st.caption(text.escaped(f"Better than its index: {_listed(card.best)}. Worse: {_listed(card.worst)}."))


def _listed(standings: Sequence[Standing]) -> str:
    return ", ".join(f"{row.benchmark} ({100 * row.residual:+.0f})" for row in standings) or "none"


def _show_scores(model: str) -> None:
    """Show every published score behind the place, with its source."""
    known = frontier_data.tables()
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
            "evaluated_on": [row.evaluated_on for row in rows],
        }
    ).sort_values("benchmark", key=lambda names: names.str.casefold(), ignore_index=True)
    st.subheader("The published scores behind it", anchor=False)
    st.dataframe(
        frame,
        column_config=tables.PUBLISHED,
        placeholder="–",
        hide_index=True,
        alt=f"Published scores of {model}, one row per benchmark, with their sources",
    )
    downloads.buttons(frame, what="Published scores", name="published-scores")


def show_placement(runs: Sequence[dict[str, Any]]) -> None:
    """Show where the newest whole run puts the model on the index, or why nowhere."""
    whole = [run for run in runs if run["status"] in ("complete", "partial") and run["limit"] is None]
    if not whole:
        return
    st.header("Placement", anchor=False)
    found = placements.placement(queries.snapshot(), whole[0]["run_id"])
    if found is None:
        st.caption("The place on the index is being computed")
        frontier_view.await_intervals(Question())
    elif isinstance(found, Unplaced):
        st.caption(text.escaped(_sentence(found.reason)))
    else:
        _show_place(found)


def _show_place(found: Placement) -> None:
    behind = f"{BOUNDS.get(found.months_bound or '', '')}{text.months(found.months_behind)}"
    show_facts(
        {
            "Index": f"{found.index:.1f}",
            "Its 90 % interval": text.ends(found.ci_low, found.ci_high),
            f"Behind closed models, {DEFINITION_WORDS[found.definition]} ({found.definition})": behind,
            "Its 90 % interval, months": text.ends(found.months_ci_low, found.months_ci_high),
            "From": ", ".join(found.tasks),
        }
    )
    if found.note:
        st.caption(text.escaped(_sentence(found.note)))


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def show_claims(model_id: str) -> None:
    """Show each claim beside what was measured here on the same task."""
    pairs = queries.claimed_and_measured(model_id)
    if pairs.empty:
        return
    st.header("Claimed and measured", anchor=False)
    drawing.show(charts.claim_chart, pairs, alt=charts.claim_alt(pairs))
    shown = pairs.assign(
        claimed=pairs["claimed"].round(SHOWN_DECIMALS),
        measured=pairs["measured"].round(SHOWN_DECIMALS),
        verdict=pairs["verdict"].map(VERDICTS),
        interval=[
            text.interval(low, high) for low, high in zip(pairs["ci_low"], pairs["ci_high"], strict=True)
        ],
        by=pairs["reporter"].fillna(pairs["reported_by"]),
    )
    st.dataframe(
        shown[list(tables.CLAIMS)],
        column_config=tables.CLAIMS,
        placeholder="–",
        hide_index=True,
        alt="One row per claim: claimed score, measured score with 95 % interval, verdict, who says so",
    )
    downloads.buttons(pairs, what="Claims", name="claimed-and-measured")
