"""What other models answered to the same question, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.data import queries
from app.pages.items import columns
from app.pages.items.response import show_response
from app.widgets import safe_text
from app.widgets.facts import show_text

MOST = 3  # beside the first one
OTHER_QUESTION = "Its newest run asked another question under this number."


def show_other_answers(item: Mapping[str, Any], model_id: str) -> None:
    """Show the answers of the models that the reader picks, each from its newest run with the task."""
    runs = queries.runs_of_task(item["task"])
    others = [name for name in runs if name != model_id]
    if not others:
        return
    st.header("Other models on this item", anchor=False)
    chosen = st.multiselect(
        f"Models (up to {MOST})", others, max_selections=MOST, key="beside", bind="query-params"
    )
    if not chosen:
        return
    with st.grid(min_column_width=300):
        for place, name in enumerate(chosen):
            _show_answer(item, name, runs[name], key=f"beside_{place}")


def _show_answer(item: Mapping[str, Any], name: str, run_id: str, *, key: str) -> None:
    other = queries.item(run_id, task=item["task"], doc_id=item["doc_id"])
    with st.container(border=True):
        st.subheader(safe_text.escaped(name), anchor=False)
        if other is None or other["doc_hash"] != item["doc_hash"]:
            st.caption(OTHER_QUESTION if other is not None else "It has not answered this item.")
            return
        st.text(columns.answer_verdict(other))
        if other["thinking"]:
            show_text("Thinking", other["thinking"], key=f"{key}_thinking")
        show_response(other["response"], key=f"{key}_response")
        show_text("Extracted answer", other["extracted"], key=f"{key}_extracted")
        query = {"items_of": name, "of_run": run_id, "of_task": item["task"]}
        query |= {"item": f"{item['task']} {item['doc_id']}"}
        st.page_link("pages/items/page.py", label="Open it", query_params=query)
