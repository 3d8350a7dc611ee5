"""Links from a benchmark's name to its page."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st

from app.data import benchmarks
from app.widgets import safe_text

PAGE = "pages/benchmarks/page.py"


def linked(name: str) -> str:
    """The name as Markdown, with a link if the benchmark has a page."""
    return _link(name) if benchmarks.address(name) else safe_text.escaped(name)


def _link(name: str) -> str:
    return f"[{safe_text.escaped(name)}]({benchmarks.page_address(name)})"


def with_links(text: str) -> str:
    """Escaped text of a change, in which the benchmark after “on” leads to its page."""
    pattern, names = _mentions(benchmarks.names())
    return pattern.sub(lambda found: _link(names[found[0]]), text, count=1)


@lru_cache(maxsize=2)
def _mentions(benchmarks: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds a benchmark after “on”, and the benchmarks by their escaped names."""
    names = {safe_text.escaped(name): name for name in benchmarks}
    longest_first = sorted(names, key=len, reverse=True)
    any_name = "|".join(map(re.escape, longest_first))
    return re.compile(rf"(?<=\bon )(?:{any_name})(?![\w\\])"), names


def show_task_link(task: str) -> None:
    """A link to the published benchmark that a task of the harness asks, if there is one."""
    name = benchmarks.of_task(task)
    if name is not None:
        label = f"{safe_text.escaped(name)}: what it asks, published scores, best open and closed model"
        st.page_link(PAGE, label=label, query_params={benchmarks.PARAMETER: name})


def open_selected(chosen: Any, names: pd.Series[str]) -> None:
    """Open the benchmark of the selected row, if it has a page."""
    if chosen.selection.rows:
        name = names.iloc[chosen.selection.rows[0]]
        if benchmarks.address(name):
            st.switch_page(PAGE, query_params={benchmarks.PARAMETER: name})
