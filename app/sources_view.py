"""The parts of the page on sources and method."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from app import downloads, frontier_data, queries, tables, text
from tracker.frontier.tables import ATTRIBUTION

IN_CHECKOUT = Path(__file__).resolve().parents[1] / "docs" / "method.md"
IN_WHEEL = Path(__file__).resolve().parent / "method.md"  # the build copies it here
LIMITS = (
    "The index rests on published scores of other harnesses; a model measured here is placed on it with an"
    " interval that is wider for that, and says where it is not calibrated.",
    "A benchmark whose items are public may be in a model's training data; the frontier can be asked for"
    " private benchmarks only.",
    "An interval covers the choice of items and the scatter of models on a benchmark. It does not cover that"
    " a benchmark may measure something else than it says.",
    "A large lag on one benchmark may mean that nobody has evaluated a newer open model on it; those are left"
    " out after 14 months.",
    "Memory is predicted for one sequence; how fast a model is depends on the card, and is shown only where"
    " it was measured.",
    "A claim and a measurement may differ in prompts and shots; where they do, the match is called close.",
)


def show_sources() -> None:
    """Show what was ingested: licence, date, what became of it, and whom to credit."""
    health = queries.ingest_health()
    if not health:
        st.info("No source was asked yet: `tracker ingest` asks them")
        return
    frame = queries.sources()
    st.dataframe(
        tables.sources(frame, health),
        column_config=tables.SOURCES,
        placeholder="–",
        hide_index=True,
        alt="One row per source: licence, when it was last complete, and what became of it",
    )
    st.caption(text.escaped(". ".join(sorted(set(frame["attribution"].dropna())))))
    downloads.buttons(frame, what="Sources", name="sources")


def show_shipped() -> None:
    """Show what the program brings along: the published scores by vintage, with their licences."""
    known = frontier_data.tables()
    counts = pd.Series([row.vintage for row in known.scores]).value_counts().sort_index(ascending=False)
    said = ", ".join(f"{day} ({n:,} scores)" for day, n in counts.items())
    st.markdown(f"Published scores and facts come with the program, as they stood on {said}.")
    st.markdown("\n".join(f"- {text.escaped(credit)}" for credit in ATTRIBUTION))


def show_benchmarks() -> None:
    """Show each benchmark of the index: what guessing scores, whether its items are private, its address."""
    known = frontier_data.tables().benchmarks.values()
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
    st.dataframe(
        frame,
        column_config=tables.BENCHMARKS,
        placeholder="–",
        hide_index=True,
        alt="One row per benchmark of the index, with what guessing scores and where it is from",
    )
    downloads.buttons(frame, what="Benchmarks", name="benchmarks")


def show_method() -> None:
    """Show the formulas, as they stand in the documentation, and what they do not cover."""
    st.markdown("\n".join(f"- {limit}" for limit in LIMITS))
    path = IN_CHECKOUT if IN_CHECKOUT.is_file() else IN_WHEEL
    st.header("Method", anchor=False)
    with st.expander("Every number of the frontier, with its formula and its source"):
        _, _, body = path.read_text(encoding="utf-8").partition("\n")
        # one level down: the page has its own title
        st.markdown(body.replace("\n## ", "\n### ").replace("$", r"\$"))
