"""The parts of the page of all models: the filters, the chart, the table."""

from __future__ import annotations

from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.data import frontier_views, model_names
from app.pages.models import charts, columns
from app.widgets import cached_chart, downloads
from tracker.frontier.question import Question
from tracker.wording import counted

ANY, ANY_SIZE, EVERY = "Open and closed", "Any size", "All organizations"
ANY_LICENSE, NO_LICENSE = "Any license", "License not known"
REASONING = {"Any": None, "Thinks before it answers": [True], "Does not think": [False], "Not stated": [None]}
REASONING_HELP = (
    "By the names of the scored versions: an effort or a thinking budget. No model released before"
    " 12 Sep 2024 thinks"
)
WEIGHTS = {ANY: None, "Open": "open", "Closed": "closed"}
SIZES = {ANY_SIZE: None, "up to 4B": 4e9, "up to 9B": 9e9, "up to 15B": 15e9, "up to 40B": 40e9}
SIZES |= {"up to 80B": 80e9, "up to 200B": 200e9}


def choose_filter(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that match the filters of the reader."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="model_filters"):
        words = st.text_input("Search", key="search", bind="query-params", placeholder="Name or organization")
        weights = WEIGHTS[st.selectbox("Weights", list(WEIGHTS), key="weights", bind="query-params")]
        most = SIZES[st.selectbox("Size", list(SIZES), key="most", bind="query-params")]
        makers = [EVERY, *sorted(frame["organization"].dropna().unique(), key=str.casefold)]
        maker = st.selectbox("Organization", makers, key="maker", bind="query-params")
        known = sorted(frame["license"].dropna().unique(), key=str.casefold)
        license_ = st.selectbox(
            "License", [ANY_LICENSE, *known, NO_LICENSE], key="licensed", bind="query-params"
        )
        thinks = REASONING[
            st.selectbox(
                "Reasoning", list(REASONING), key="reasoning", bind="query-params", help=REASONING_HELP
            )
        ]
        here = st.checkbox("Measured here", key="here", bind="query-params")
    named = frame["model"] + " " + frame["organization"].fillna("") + " " + frame["hub_id"].fillna("")
    keep = named.str.contains(words or "", case=False, regex=False)
    keep &= True if weights is None else frame["access"] == weights
    keep &= True if most is None else frame["n_params"] <= most
    keep &= True if maker == EVERY else frame["organization"] == maker
    keep &= frame["is_measured"] if here else True
    if license_ != ANY_LICENSE:
        keep &= frame["license"].isna() if license_ == NO_LICENSE else frame["license"] == license_
    if thinks is not None:
        keep &= frame["is_reasoning"].map(lambda value: value in thinks)
    return frame[keep].reset_index(drop=True)


def show_chart(shown: pd.DataFrame) -> None:
    """Show the index against the cost that the reader chooses; a click opens the model."""
    cost = st.segmented_control(
        "Index against",
        list(charts.COSTS),
        default=next(iter(charts.COSTS)),
        required=True,
        key="cost",
        bind="query-params",
        wrap=True,
    ) or next(iter(charts.COSTS))
    column = charts.COSTS[cost][0]
    if not shown[column].notna().any():
        st.info("Not known for any of these models")
        return
    pages = page_names(shown)
    addresses = ["model?" + urlencode({"model": name}) if name else "" for name in pages]
    names = ["model", "access", "index", *dict.fromkeys([column, "released"])]
    st.caption("Lines: the best of its group up to that value. Click a point to open its model.")
    cached_chart.render(
        charts.cost_chart,
        shown[names].assign(href=addresses),
        cost=cost,
        caption=cached_chart.ChartCaption(
            f"Capability index against {charts.COSTS[cost][1][:1].lower()}{charts.COSTS[cost][1][1:]}",
            frontier_views.frontier(Question()).vintage,
            cached_chart.EPOCH,
        ),
        alt=charts.cost_alt(shown, cost=cost),
    )


def page_names(shown: pd.DataFrame) -> list[str]:
    """For each row the name under which it has its page; empty where it has none."""
    known = model_names.with_page()
    repositories = frontier_views.repositories()
    names = [repositories.get(model) or model for model in shown["model"]]
    return [name if name in known else "" for name in names]


def show_table(shown: pd.DataFrame, frame: pd.DataFrame) -> None:
    """Show one row per model; a row opens its model."""
    st.caption(f"{counted(len(shown), 'model')} of {len(frame):,}. Select a row to open its model.")
    chosen = st.dataframe(
        columns.model_rows(shown),
        column_config=columns.MODEL_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="model_rows",
        alt="One row per model with a place on the index: size, memory, price, license",
    )
    if chosen.selection.rows and (name := page_names(shown)[chosen.selection.rows[0]]):
        st.switch_page("pages/model/page.py", query_params={"model": name})
    downloads.download_buttons(shown, what="Models", name="models")
