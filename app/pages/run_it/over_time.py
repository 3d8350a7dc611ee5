"""The best open model that fits the card over time, beside both frontiers, and how far behind it is."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.data import frontier_views, measured_models
from app.data.frontier_views import Frontier
from app.pages.run_it import charts, columns
from app.widgets import cached_chart, downloads, safe_text
from app.widgets.index_columns import months_phrase
from app.widgets.intervals import await_intervals
from tracker.answers.best_that_fits import BestThatFits, CardBudget, best_that_fits, best_that_fits_document
from tracker.answers.measured import MeasuredAnswer
from tracker.errors import DiskFullError, StoreError, TrackerError
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.population import sizes
from tracker.frontier.question import Question
from tracker.memory_estimate import GB, needed_bytes

WEIGHTS = {"4 bits": 4.0, "8 bits": 8.0, "16 bits": 16.0}
DEFAULT_WEIGHTS = "4 bits"  # what most people run who look for a card


def show_over_time(memory_gb: float) -> None:
    """Show the curve for the memory of the card and the bits that the reader chooses."""
    st.header("Best open model that fits, over time", anchor=False)
    chosen = st.segmented_control(
        "Weights",
        list(WEIGHTS),
        default=DEFAULT_WEIGHTS,
        required=True,
        key="bits",
        bind="query-params",
        help="Bits of a weight: they decide how large a model fits",
    )
    budget = CardBudget(memory_gb, WEIGHTS[chosen or DEFAULT_WEIGHTS])
    question = Question(max_params=budget.max_params)
    try:
        found = frontier_views.frontier(question)
    except (StoreError, DiskFullError):
        raise
    except TrackerError as error:
        st.info(
            safe_text.escaped(
                f"{error}: {budget.phrase} hold {safe_text.count(budget.max_params)} parameters"
            )
        )
        return
    if not found.has_intervals:
        await_intervals(question)
    curve = best_that_fits(found.answer, budget, sizes(frontier_views.tables()))
    _show_headline(found, curve)
    _show_chart(curve, fits_here(measured_models.measured(Question()), budget))
    st.caption(safe_text.escaped(curve.note[:1].upper() + curve.note[1:] + "."))
    _show_table(curve)


def _show_headline(found: Frontier, curve: BestThatFits) -> None:
    gap, best = found.gap(STANDING_LAG), found.best("open")
    with st.grid(2, min_column_width=260):
        with st.container(gap="xxsmall"):
            st.metric(f"Best that fits {curve.budget.phrase}", safe_text.escaped(best["model"]))
            st.caption(f"index {best['value']:.1f} · {best['released']:%d %b %Y}")
        with st.container(gap="xxsmall"):
            st.metric(f"Behind closed models by ({STANDING_LAG})", safe_text.months(gap.value))
            st.caption(
                f"90% interval: {safe_text.ends(gap.ci_low, gap.ci_high)} · data of {found.vintage:%d %b %Y}"
            )


def fits_here(found: MeasuredAnswer | None, budget: CardBudget) -> pd.DataFrame:
    """The models measured here whose own weights fit: what was measured is not assumed."""
    rows = []
    for row in found.newest if found else ():
        needed = needed_bytes(weights_bytes=row.weights_bytes, n_params=row.n_params)
        if needed is not None and needed <= budget.memory_gb * GB:
            rows.append(
                {
                    "model": row.model_id,
                    "released": row.day,
                    "value": row.placement.index,
                    "says": " · ".join(filter(None, (row.suite, row.quantization or "as published"))),
                }
            )
    return pd.DataFrame(rows)


def _show_chart(curve: BestThatFits, here: pd.DataFrame) -> None:
    whole = frontier_views.frontier(Question()).points
    cached_chart.render(
        charts.curve_chart,
        charts.curve_rows(curve),
        whole[whole["is_record"]],
        here,
        as_of=curve.as_of,
        alt=charts.curve_alt(curve),
    )


def _show_table(curve: BestThatFits) -> None:
    rows = [
        {
            "model": row.model,
            "since": row.released,
            "n_params": row.n_params,
            "needed": None if row.needed_gb is None else f"{row.needed_gb:.1f} GB",
            "index": round(row.value, 1),
            "interval": safe_text.ends(row.ci_low, row.ci_high),
            "behind": months_phrase(row.months_behind, row.months_bound, curve.definition),
        }
        for row in reversed(curve.steps)
    ]
    st.dataframe(
        pd.DataFrame(rows),
        column_config=columns.CURVE_COLUMNS,
        placeholder=safe_text.NOTHING,
        hide_index=True,
        alt=f"Each model that was the best that fits {curve.budget.phrase}, the newest first",
    )
    steps = best_that_fits_document(curve)["best_that_fits"]["steps"]
    name = f"best-that-fits-{curve.budget.memory_gb:g}gb-{curve.budget.bits:g}bits"
    downloads.download_buttons(pd.DataFrame(steps), what="Best that fits", name=name)
