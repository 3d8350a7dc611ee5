"""The items of one run: filters, pages, one item in full, and what other models answered to it.

Text from a model is shown, never rendered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.data import queries, row_labels
from app.pages.items import beside, columns
from app.pages.items.response import show_response
from app.widgets import downloads, safe_text
from app.widgets.facts import show_facts, show_text
from tracker.wording import counted

ANSWERS = {"All": None, "Right": "right", "Wrong": "wrong", "Unparsed": "unparsed", "Truncated": "truncated"}

TABLE_PX = 340


def show_items(run: Mapping[str, Any], scores: pd.DataFrame) -> None:
    """Show the items of a run, filtered and in pages, and below them the chosen one."""
    run_id = run["run_id"]
    where = _choose_filter(scores)
    first = queries.items_page(run_id, **where, page=1)
    if not first:
        if any(where.values()) or not queries.missing_items(run_id):
            st.info("No items match these filters")
        return
    n_items = first[0]["n_matching"]
    n_pages = -(-n_items // queries.PAGE_ITEMS)
    page = st.pagination(n_pages, key="page", bind="query-params") if n_pages > 1 else 1
    shown = queries.items_page(run_id, **where, page=page)
    names = {_name(row): row for row in shown}

    def take_clicked() -> None:
        if picked := st.session_state["item_rows"].selection.rows:
            st.session_state["item"] = list(names)[picked[0]]

    st.dataframe(
        columns.item_table(shown),
        column_config=columns.ITEM_COLUMNS,
        hide_index=True,
        height=TABLE_PX,
        on_select=take_clicked,
        selection_mode="single-row",
        key="item_rows",
        placeholder="–",
        alt=f"Page {page} of {n_pages}, {counted(n_items, 'item')} in total",
    )
    st.caption(f"{counted(n_items, 'item')}. Click a row or choose one here:")
    name = st.selectbox("Item", list(names), key="item", bind="query-params")
    chosen = names[name]
    item = queries.item(run_id, task=chosen["task"], doc_id=chosen["doc_id"])
    if item is not None:
        show_item(item)
        beside.show_other_answers(item, run["model_id"])
    downloads.deferred_download_buttons(
        lambda: queries.items(run_id, **where), what="Items", name=f"items-{run_id}"
    )


def _choose_filter(scores: pd.DataFrame) -> dict[str, str | None]:
    """The filter on items: `task`, `only` and `words`, None for all."""
    with st.container(horizontal=True, key="item_filters"):
        answers = st.segmented_control(
            "Answers",
            list(ANSWERS),
            default="All",
            required=True,
            key="answers",
            bind="query-params",
            wrap=True,
        )
        tasks = [row_labels.ALL, *row_labels.leaf_tasks(scores)]
        task = st.selectbox("Task", tasks, key="of_task", bind="query-params")
        words = st.text_input(
            "Text contains", key="text", bind="query-params", help="In the prompt, an answer or the target"
        )
    of_task = None if task == row_labels.ALL else task
    return {"task": of_task, "only": ANSWERS[answers or "All"], "words": words.strip() or None}


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['task']} {row['doc_id']}"


def show_item(item: Mapping[str, Any]) -> None:
    """Show one item in full, every text as plain characters."""
    with st.container(border=True):
        st.header(safe_text.escaped(f"{_name(item)}: {columns.answer_verdict(item)}"), anchor=False)
        show_facts(
            {
                "Finish reason": item["finish_reason"],
                "Prompt tokens": f"{item['prompt_tokens']:,}",
                "Cached prompt tokens": f"{item['cached_tokens']:,}",
                "Output tokens": f"{item['output_tokens']:,}",
                "Latency": safe_text.seconds(item["latency_s"]),
                "Time to first token": safe_text.seconds(item["ttft_s"]),
            }
        )
        with st.grid(2, min_column_width=380):
            show_text("Prompt", item["prompt"], key="prompt")
            with st.container():
                if item["thinking"]:
                    show_text("Thinking", item["thinking"], key="thinking")
                show_response(item["response"], key="response")
                show_text("Extracted answer", item["extracted"], key="extracted")
                show_text("Target", item["target"], key="target")
        if item["choices"]:
            st.dataframe(
                columns.choice_table(item),
                column_config=columns.CHOICE_COLUMNS,
                hide_index=True,
                alt="The answer choices of this item",
            )
