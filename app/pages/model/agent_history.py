"""The studies in which a model was the agent."""

from __future__ import annotations

import streamlit as st

from app.data import queries, study_rows
from app.widgets import columns, downloads

SHOWN_FIELDS = ["study_id", "status", "n_done", "n_accepted", "gain_bpb", "interval", "started_at"]


def show_agent_history(model_id: str) -> None:
    """Show the studies in which a model was the agent; a row opens its study."""
    studies = [row for row in queries.studies() if model_id in (row["agent_name"], row["model_id"])]
    if not studies:
        return
    st.header("Auto-research", anchor=False)
    frame = study_rows.study_frame(studies, study_rows.live_study_ids())
    chosen = st.dataframe(
        columns.with_gain_interval(frame)[SHOWN_FIELDS],
        column_config=columns.STUDY_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="agent_rows",
        alt=f"Studies in which {model_id} was the agent, newest first",
    )
    if chosen.selection.rows:
        picked = frame["study_id"].iloc[chosen.selection.rows[0]]
        st.switch_page("pages/research/page.py", query_params={"study": picked})
    downloads.download_buttons(frame, what="Studies", name="studies-as-agent")
    st.page_link(
        "pages/research/page.py",
        label="View every trial of the newest study",
        query_params={"study": studies[0]["study_id"]},
    )
