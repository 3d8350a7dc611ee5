"""The exported page of each model and of each benchmark, linked with each other and with the three lists.

A score whose license does not allow redistribution is left out and counted: these files are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from app.export.tables import Row, facts_list, html_table
from tracker.answers.benchmarks import BenchmarkAnswer, benchmark_document
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import Redistribution
from tracker.frontier.licenses import terms_of
from tracker.frontier.tables import Tables
from tracker.wording import agreeing, counted

MODELS, BENCHMARKS = "models", "benchmarks"  # folders beside the lists
NOT_PLAIN = re.compile(r"[^a-z0-9]+")
NAME_CHARS, HASH_CHARS = 60, 8
FACTS = {
    "index": "Index", "ci_low": "90% from", "ci_high": "to", "months_behind": "Months behind (G3)",
    "months_bound": "Bound", "organization": "Organization", "access": "Weights", "released": "Released",
    "basis": "Index from", "n_params": "Parameters", "needed_gb_16": "GB at 16 bits",
    "needed_gb_8": "GB at 8 bits", "needed_gb_4": "GB at 4 bits", "price_in": "$/M tokens in",
    "price_out": "$/M tokens out", "license": "License", "max_context": "Context", "hub_id": "On the Hub",
    "is_measured": "Measured here",
}  # fmt: skip
OF_MODEL = {
    "benchmark": "Benchmark", "score": "Score", "ci_low": "90% from", "ci_high": "to",
    "model_version": "Version", "measured_by": "Measured by", "license": "License", "source": "Source",
    "evaluated_on": "Evaluated",
}  # fmt: skip
BENCHMARK_FACTS = {
    "domain": "Domain", "state": "State", "solved": "Solved", "chance": "Score of guessing",
    "ceiling": "Highest possible", "is_private": "Private items", "n_items": "Items", "n_models": "Models",
    "best_open": "Best open", "best_open_score": "Its score", "best_closed": "Best closed",
    "best_closed_score": "Its score ", "released": "Released", "superseded_by": "Superseded by",
    "command": "To run it here",
}  # fmt: skip
LAG = {"id": "Definition", "value": "Months behind", "ci_low": "90% from", "ci_high": "to", "note": "Note"}
OF_BENCHMARK = {
    "model": "Model", "access": "Weights", "released": "Released", "score": "Score", "ci_low": "90% from",
    "ci_high": "to", "is_record": "Record", "model_version": "Version", "measured_by": "Measured by",
    "license": "License", "source": "Source", "evaluated_on": "Evaluated",
}  # fmt: skip


def file_names(names: Iterable[str], folder: str) -> dict[str, str]:
    """A file in `folder` for each name: plain letters, and a hash where two would have the same."""
    plain = {name: NOT_PLAIN.sub("-", name.casefold()).strip("-")[:NAME_CHARS] for name in names}
    shared = [*plain.values()]
    return {
        name: f"{folder}/{word}.html"
        if word and shared.count(word) == 1
        else f"{folder}/{word or 'x'}-{sha256(name.encode()).hexdigest()[:HASH_CHARS]}.html"
        for name, word in plain.items()
    }


def not_passed_on(tables: Tables) -> frozenset[tuple[str, str]]:
    """Model and benchmark of each of the newest scores whose license does not allow redistribution."""
    newest = newest_vintage(tables, None)
    return frozenset(
        (row.model, row.benchmark)
        for row in tables.scores
        if row.vintage == newest and terms_of(row).redistribution is Redistribution.NOT_ALLOWED
    )


def scores_by_model(pages: Sequence[BenchmarkAnswer]) -> dict[str, list[Row]]:
    """The scores of every model, by benchmark."""
    found: dict[str, list[Row]] = {}
    for page in pages:
        for row in page.scores:
            found.setdefault(row.model, []).append(asdict(row) | {"benchmark": page.summary.benchmark})
    return found


def model_content(
    model: Row,
    scores: Sequence[Row],
    *,
    links: Mapping[str, str],
    left_out: frozenset[tuple[str, str]],
) -> str:
    """The page of a model: its facts, and its published scores with their sources."""
    name = str(model["model"])
    shown = [row for row in scores if (name, row["benchmark"]) not in left_out]
    return f"{facts_list(model, FACTS)}<h2>Published scores</h2>{_left_out(len(scores) - len(shown))}" + (
        html_table(shown, OF_MODEL, links={"benchmark": links}) if shown else "<p>None.</p>"
    )


def benchmark_content(
    page: BenchmarkAnswer, *, links: Mapping[str, str], left_out: frozenset[tuple[str, str]]
) -> str:
    """The page of a benchmark: its facts, the lag with its interval, and all scores with their sources."""
    document = benchmark_document(page)
    name = page.summary.benchmark
    shown = [row for row in document["scores"] if (row["model"], name) not in left_out]
    lag = html_table([document["lag"]], LAG) if document["lag"] else "<p>No lag: a group has no score.</p>"
    facts = facts_list(document, BENCHMARK_FACTS, links=links)
    missing = _left_out(len(document["scores"]) - len(shown))
    scores = html_table(shown, OF_BENCHMARK, links={"model": links})
    return f"{facts}<h2>How far open models are behind</h2>{lag}<h2>Scores</h2>{missing}{scores}"


def _left_out(n: int) -> str:
    if not n:
        return ""
    said = f"{counted(n, 'score')} whose license does not allow redistribution {agreeing(n, 'is', 'are')}"
    return f"<p>{said} left out.</p>"


def within_folder(links: Mapping[str, str]) -> dict[str, Any]:
    """The links as they are from a page in one of the folders."""
    return {name: f"../{file}" for name, file in links.items()}
