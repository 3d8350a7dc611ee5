"""How to read a page: what it answers, how its marks are meant, and the terms on it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from tracker.frontier.definitions import STANDING_LAG

GLOSSARY: Mapping[str, str] = {
    "Capability index": "One scale for all models, fitted to their scores on many benchmarks. A difference"
    " of ten points is about eight months of the closed frontier.",
    "Frontier": "The best model of a group, open or closed, at each date.",
    "Gap": "Distance of the best open model to the best closed one: in months, or in points of a score.",
    STANDING_LAG: "Age of the closed level that the best open model equals: from the day on which a closed"
    " model first reached its level to its release. The other definitions stand on the page Frontier.",
    "Open, closed": "Open: the weights can be downloaded. Closed: the model answers through its maker's"
    " interface only.",
    "Placement": "Where a model measured here falls on the index, by known models with scores on the same"
    " tasks.",
    "Calibrated": "Enough known models have both a published score and one of this program, so the"
    " placement's interval has been checked.",
    "Interval": "The range that the data allow: 90% on the index and for months, 95% for scores measured"
    " here.",
    "Chance": "The score of guessing.",
    "Score above chance": "A score rescaled so that guessing is 0% and a perfect answer 100%.",
    "Solved": "The best score on a benchmark on the way from guessing (0%) to the highest possible (100%).",
    "Private items": "Questions that are not public, so that they cannot be in a model's training data.",
    "Suite, task": "A task is one benchmark as this program asks it; a suite is a named set of tasks.",
    "Run": "One suite on one model.",
    "Item": "One question of a task with the model's answer.",
    "Extracted answer": "The part of a response that is compared with the target.",
    "Unparsed": "No answer was found in the response; it counts as wrong.",
    "Truncated": "The response ended at the limit of tokens.",
    "Measured here, claimed": "Measured here: by this program on your machine. Claimed: published by the"
    " developer or somebody else. The two are never mixed.",
    "Rank": "One more than the number of models whose whole interval lies higher; models that do not differ"
    " significantly share a rank.",
    "Paired difference": "Difference on the same items, so that their difficulty cancels out.",
    "Jaggedness": "How far a model's scores stray from what its index predicts.",
    "bits": "Bits per weight: 16 as most models are published, 8 and 4 after quantization.",
    "GB, GiB": "Cards and files are in GB (10⁹ bytes), computed memory is in GiB (2³⁰ bytes).",
    "val_bpb": "Bits per byte on held-out text; lower is better. The research pages show how many were"
    " saved.",
    "Study, trial": "A study is one agent at work on a training script; a trial is one change that it"
    " proposed.",
    "Placebo": "A trial without a change, which must not pass the test.",
}
PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "": (
        "The headline says how far the best open model is behind closed ones, with the day of the data. In"
        " the chart a line is the best of a group at each date; a model far to the right of the closed line"
        " at its own height is late. Faint points were not the best at their release.",
        (
            "Capability index",
            "Frontier",
            "Gap",
            STANDING_LAG,
            "Open, closed",
            "Placement",
            "Calibrated",
            "Interval",
            "Score above chance",
            "Private items",
        ),
    ),
    "models": (
        "A row is a model. Lines in the chart are the best open and the best closed model up to each value:"
        " a model on its line is the best for that size, memory or price.",
        (
            "Capability index",
            STANDING_LAG,
            "Open, closed",
            "Interval",
            "bits",
            "GB, GiB",
            "Measured here, claimed",
        ),
    ),
    "benchmarks": (
        "A benchmark that is nearly solved no longer separates models. A lag may also be large because no"
        " new open model was evaluated; the list says so.",
        ("Solved", "Gap", STANDING_LAG, "Chance", "Private items", "Interval", "Open, closed"),
    ),
    "leaderboard": (
        "One task ranks the models; tasks are not averaged. Where intervals overlap, the order is not"
        " certain.",
        ("Suite, task", "Rank", "Interval", "Chance", "Capability index", "Measured here, claimed"),
    ),
    "run_it": (
        "Choose the memory of your card. A model that fits leaves room for its weights, one text of the"
        " chosen length and the engine. Speed was measured on the named device and may differ on yours.",
        ("bits", "GB, GiB", "Capability index", STANDING_LAG, "Interval"),
    ),
    "model": (
        "Everything known about one model: what was claimed, what was measured here, and where that places"
        " it.",
        (
            "Capability index",
            "Placement",
            "Calibrated",
            STANDING_LAG,
            "Jaggedness",
            "Run",
            "Measured here, claimed",
            "Interval",
        ),
    ),
    "compare": (
        "Models measured here are compared on the items that all answered. Others are compared by published"
        " scores, where less is known and intervals are wider.",
        ("Paired difference", "Interval", "Capability index", STANDING_LAG, "Item"),
    ),
    "items": (
        "Each row is one question with the answer. Text is shown as the model wrote it, never rendered.",
        ("Item", "Extracted answer", "Unparsed", "Truncated", "Suite, task"),
    ),
    "research": (
        "The confirmed gain counts: it is measured on text that the agent never saw. Bands show what random"
        " search reaches, so a gain within the band is no sign of skill.",
        ("Study, trial", "val_bpb", "Placebo", "Interval"),
    ),
    "runs": (
        "What runs now, what comes next, and what failed with the reason and what to do about it.",
        ("Run", "Suite, task", "Interval"),
    ),
    "changes": (
        "What is new since the chosen day: measured here, published, released. Names lead to their pages.",
        ("Capability index", "Gap", "Measured here, claimed"),
    ),
    "sources": (
        "Where every number comes from, under which license, and of which day.",
        ("Open, closed", "Chance", "Private items", "Capability index"),
    ),
}


def show_help(page: str) -> None:
    """Show how to read the page of that address, and its terms."""
    if page not in PAGES:
        return
    said, terms = PAGES[page]
    with st.expander("How to read this page"):
        st.markdown(said)
        st.markdown("\n".join(f"- **{term}**: {GLOSSARY[term]}" for term in terms))
