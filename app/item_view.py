"""The items of one run: filters, pages, and one item in full. What a model wrote is shown, never rendered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import downloads, queries, rows, tables, text
from app.model_view import show_facts

ANSWERS = {"All": None, "Right": "right", "Wrong": "wrong", "Unparsed": "unparsed", "Truncated": "truncated"}
TALL_LINES = 16  # a longer text scrolls inside its box
TALL_PX = 340


def show_items(run_id: str, scores: pd.DataFrame) -> None:
    """Show the items of a run behind a filter, in pages, and below them the chosen one."""
    where = _choose_filter(scores)
    first = queries.items_page(run_id, **where, page=1)
    if not first:
        st.info("No item of this run is like that")
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
        tables.items(shown),
        column_config=tables.ITEMS,
        hide_index=True,
        height=TALL_PX,
        on_select=take_clicked,
        selection_mode="single-row",
        key="item_rows",
        placeholder="–",
        alt=f"Page {page} of {n_pages} of {n_items} items",
    )
    st.caption(f"{n_items:,} items. Click a row, or name one here:")
    name = st.selectbox("Item", list(names), key="item", bind="query-params")
    chosen = names[name]
    item = queries.item(run_id, task=chosen["task"], doc_id=chosen["doc_id"])
    if item is not None:
        show_item(item)
    downloads.buttons_for(lambda: queries.items(run_id, **where), what="Items", name=f"items-{run_id}")


def _choose_filter(scores: pd.DataFrame) -> dict[str, str | None]:
    """Which items are asked for: `task` and `only`, None for all."""
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
        tasks = [rows.ALL, *rows.leaf_tasks(scores)]
        task = st.selectbox("Task", tasks, key="of_task", bind="query-params")
    return {"task": None if task == rows.ALL else task, "only": ANSWERS[answers or "All"]}


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['task']} {row['doc_id']}"


def show_item(item: Mapping[str, Any]) -> None:
    """Show one item in full, every text as the characters that it is."""
    with st.container(border=True):
        st.header(text.escaped(f"{_name(item)}: {tables.verdict(item)}"), anchor=False)
        show_facts(
            {
                "Finish reason": item["finish_reason"],
                "Prompt tokens": f"{item['prompt_tokens']:,}",
                "of these cached": f"{item['cached_tokens']:,}",
                "Output tokens": f"{item['output_tokens']:,}",
                "Latency": text.seconds(item["latency_s"]),
                "First token": text.seconds(item["ttft_s"]),
            }
        )
        with st.grid(2, min_column_width=380):
            show_text("Prompt", item["prompt"], key="prompt")
            with st.container():
                if item["thinking"]:
                    show_text("Thinking", item["thinking"], key="thinking")
                show_text("Response", item["response"], key="response")
                show_text("Extracted answer", item["extracted"], key="extracted")
                show_text("Target", item["target"], key="target")
        if item["choices"]:
            st.dataframe(
                tables.choices(item),
                column_config=tables.CHOICES,
                hide_index=True,
                alt="Choices of this item",
            )


def show_text(label: str, body: str, *, key: str) -> None:
    """Show a text under its name; of a very long one the beginning, with the whole to download."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        if not body:
            st.text("(empty)")
            return
        shown = text.visible(text.clipped(body))
        is_tall = shown.count("\n") > TALL_LINES or len(shown) > 80 * TALL_LINES
        # a code box drops one line break at either end, so it gets one to drop
        st.code(f"\n{shown}\n", language=None, wrap_lines=True, height=TALL_PX if is_tall else "content")
        if len(body) > text.SHOWN_CHARS:
            st.caption(f"The first {text.SHOWN_CHARS:,} of {len(body):,} characters")
            st.download_button(
                "Download the whole text",
                body.encode(),
                file_name=f"{key}.txt",
                mime="text/plain",
                key=f"whole_{key}",
                on_click="ignore",
            )
