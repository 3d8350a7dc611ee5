"""The parts of the page “Sources”."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from app.data import frontier_views, queries
from app.pages.sources import columns
from app.widgets import benchmark_links, downloads, safe_text
from tracker.answers.licenses import terms_document
from tracker.frontier.tables import ATTRIBUTION

IN_CHECKOUT = Path(__file__).resolve().parents[3] / "docs" / "method.md"
IN_WHEEL = Path(__file__).resolve().parents[2] / "method.md"  # the build copies it here
LIMITS = (
    "The index is based on scores published by others with other harnesses. A model measured here is placed"
    " on it by way of published lm-eval scores of known models, with a wider interval for that reason; the"
    " page states where the placement is not calibrated.",
    "Public benchmark items may be in a model's training data; the frontier can be restricted to private"
    " benchmarks.",
    "Intervals cover the choice of items and the scatter of models on a benchmark. They do not cover"
    " whether a benchmark measures what it claims to measure.",
    "A large lag on one benchmark may only mean that no newer open model has been evaluated on it; benchmarks"
    " without a score for an open model of the last 14 months are not shown.",
    "Memory is predicted for one sequence. Speed depends on the hardware and is shown only where it was"
    " measured.",
    "Claims and measurements may use different prompts or numbers of shots; such matches are marked as"
    " close.",
)


def show_sources() -> None:
    """Show the ingested sources: license, date, status and attribution."""
    health = queries.ingest_health()
    if not health:
        st.info("No source has been fetched yet: run `tracker ingest`")
        return
    frame = queries.source_ingests()
    st.dataframe(
        columns.source_table(frame, health),
        column_config=columns.SOURCE_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="One row per source: license, last complete ingest, last status",
    )
    st.caption(safe_text.escaped(". ".join(sorted(set(frame["attribution"].dropna())))))
    downloads.download_buttons(frame, what="Sources", name="sources")


def show_shipped() -> None:
    """Show the shipped data: published scores by vintage, with attribution."""
    known = frontier_views.tables()
    counts = pd.Series([row.vintage for row in known.scores]).value_counts().sort_index(ascending=False)
    vintages = ", ".join(f"{day} ({n:,} scores)" for day, n in counts.items())
    st.markdown(f"The program ships published scores and model facts as of: {vintages}.")
    st.markdown("\n".join(f"- {safe_text.with_commands(credit)}" for credit in ATTRIBUTION))
    _show_terms()


def _show_terms() -> None:
    """Show who measured the newest scores, and whether their terms allow redistribution."""
    document = terms_document(frontier_views.tables())
    counts = document["by_redistribution"]
    st.subheader("Licenses of the scores", anchor=False)
    st.markdown(
        f"Of the {document['n_scores']:,} scores of {document['vintage']}, {counts['allowed']:,} have a"
        f" license that allows redistribution, {counts['not_allowed']:,} have terms that do not, and the"
        f" origin of {counts['not_stated']:,} states none. The frontier page can leave out all but the first."
    )
    frame = pd.DataFrame(document["terms"])
    frame = frame.assign(
        redistribution=frame["redistribution"].str.replace("_", " "),
        benchmarks=frame["benchmarks"].str.join(", "),
    )
    st.dataframe(
        frame[list(columns.TERMS_COLUMNS)],
        column_config=columns.TERMS_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="One row per origin of scores: who measured them, license, number of scores",
    )
    downloads.download_buttons(frame, what="Licenses of the scores", name="score-licenses")


def show_benchmarks() -> None:
    """Show each benchmark of the index: chance level, private or public items, URL."""
    known = frontier_views.tables().benchmarks.values()
    frame = pd.DataFrame(
        {
            "benchmark": [row.benchmark for row in known],
            "domain": [row.domain for row in known],
            "is_private": [row.private_by is not None for row in known],
            "chance": [row.chance for row in known],
            "n_items": [row.n_items for row in known],
            "lm_eval_task": [row.lm_eval_task for row in known],
            "url": [row.url for row in known],
            "description": [row.description for row in known],
        }
    )
    st.caption("Select a row to open its benchmark.")
    chosen = st.dataframe(
        frame,
        column_config=columns.BENCHMARK_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="benchmarks_of_index",
        alt="One row per benchmark of the index, with chance level and URL",
    )
    benchmark_links.open_selected(chosen, frame["benchmark"])
    downloads.download_buttons(frame, what="Benchmarks", name="benchmarks")


def show_method() -> None:
    """Show the limits and the formulas, as in the documentation."""
    st.markdown("\n".join(f"- {limit}" for limit in LIMITS))
    path = IN_CHECKOUT if IN_CHECKOUT.is_file() else IN_WHEEL
    st.header("Method", anchor=False)
    with st.expander("Formulas and sources of every number on the frontier page"):
        _, _, body = path.read_text(encoding="utf-8").partition("\n")
        # one level down: the page has its own title
        st.markdown(body.replace("\n## ", "\n### ").replace("$", r"\$"))
