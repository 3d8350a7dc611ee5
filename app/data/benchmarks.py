"""The published benchmarks for the pages and the JSON route; kept until they change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.data import frontier_views, queries
from tracker.answers.benchmarks import (
    BenchmarkAnswer,
    BenchmarkScore,
    BenchmarkSummary,
    benchmark_list,
    benchmark_names,
    benchmark_page,
)
from tracker.frontier.lags import Lag
from tracker.frontier.question import Question
from tracker.frontier.tables import Tables
from tracker.settings import load_settings

KEPT_LISTS, KEPT_PAGES = 4, 64
PARAMETER = "benchmark"  # of a link to one benchmark


def summaries() -> tuple[BenchmarkSummary, ...]:
    """Every benchmark with scores, sorted by name."""
    return _list(_key(), frontier_views.tables())


def page(name: str) -> BenchmarkAnswer:
    """One benchmark.

    Raises:
        UnknownNameError: there is none of that name.
    """
    return _page(
        f"{queries.snapshot()} {_key()} {queries.now():%Y-%m-%d}", name, frontier_views.tables(), summaries()
    )


def address(name: str) -> str:
    """The address of a benchmark's page; empty if it has none."""
    return page_address(name) if name in _names(_key()) else ""


def addresses(benchmarks: Iterable[str]) -> list[str]:
    """`address` of each."""
    known = _names(_key())
    return [page_address(name) if name in known else "" for name in benchmarks]


def page_address(name: str) -> str:
    """The address of the page of one of `names`."""
    return f"benchmarks?{urlencode({PARAMETER: name})}"


def names() -> tuple[str, ...]:
    """The names of the benchmarks with scores, sorted; without what `summaries` computes."""
    return tuple(_names(_key()))


def of_task(task: str) -> str | None:
    """The benchmark that a task of the harness asks; None if none is known."""
    facts = frontier_views.tables().benchmarks
    return next((name for name in _names(_key()) if facts[name].lm_eval_task == task), None)


def frame(rows: tuple[BenchmarkSummary, ...]) -> pd.DataFrame:
    """The benchmarks as a frame with the fields of `BenchmarkSummary` as columns."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[one.name for one in fields(BenchmarkSummary)])


def score_frame(found: BenchmarkAnswer) -> pd.DataFrame:
    """The scores of a benchmark as a frame with the fields of `BenchmarkScore` as columns."""
    rows = [asdict(row) for row in found.scores]
    frame = pd.DataFrame(rows, columns=[one.name for one in fields(BenchmarkScore)])
    return frame.astype({"ci_low": float, "ci_high": float})


def _key() -> str:
    return f"{queries.state('vintages')} {frontier_views.tables().digest}"


@st.cache_resource(max_entries=KEPT_LISTS, show_spinner=False)
def _list(key: str, _tables: Tables) -> tuple[BenchmarkSummary, ...]:
    lags = [Lag(**row) for row in frontier_views.benchmark_lags(Question()).to_dict("records")]
    return benchmark_list(_tables, lags)


@st.cache_resource(max_entries=KEPT_PAGES, show_spinner=False)
def _page(key: str, name: str, _tables: Tables, _summaries: tuple[BenchmarkSummary, ...]) -> BenchmarkAnswer:
    return benchmark_page(_tables, _summaries, name, load_settings())


@lru_cache(maxsize=KEPT_LISTS)
def _names(key: str) -> dict[str, None]:
    return dict.fromkeys(benchmark_names(frontier_views.tables()))
