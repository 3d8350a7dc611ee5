"""What the search box finds: pages, benchmarks and models, each with its place in the app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.data import benchmarks, frontier_views, model_names, queries
from app.pages import find_pages

MOST_MEASURED = 1000  # models measured here in the box: the page of models has them all
KEPT = 2


@dataclass(frozen=True, slots=True)
class SearchEntry:
    """One thing that can be found."""

    label: str
    script: str  # of its page, as `st.switch_page` wants it
    parameter: str | None = None  # of its page, with `name` as the value
    name: str = ""


def entries() -> dict[str, SearchEntry]:
    """Every entry by its label: pages, benchmarks, models, then the items of models measured here."""
    measured, agents = queries.model_ids()[:MOST_MEASURED], queries.agent_models()
    key = f"{frontier_views.tables().digest} {hash((*measured, '', *agents))}"
    return _entries(key, measured, agents)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _entries(key: str, _measured: Sequence[str], _agents: Sequence[str]) -> dict[str, SearchEntry]:
    found = [SearchEntry(f"Page: {page.entry.title}", f"pages/{page.name}/page.py") for page in find_pages()]
    found += [
        SearchEntry(f"Benchmark: {name}", "pages/benchmarks/page.py", benchmarks.PARAMETER, name)
        for name in benchmarks.names()
    ]
    names = model_names.listed_names(_measured, _agents)
    found += [SearchEntry(f"Model: {name}", "pages/model/page.py", "model", name) for name in names]
    found += [SearchEntry(f"Items: {name}", "pages/items/page.py", "items_of", name) for name in _measured]
    return {entry.label: entry for entry in found}
