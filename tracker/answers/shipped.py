"""The published scores shipped with the program, and the capability index fitted to them, for SQL.

They are not in the database: a statement that names a relation loads it from `data/frontier/`, so only an
upgrade of the program changes them. The index is that of `tracker index show`: the newest vintage, with
intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from datetime import date
from enum import Enum
from functools import cache, partial
from typing import Any

import pyarrow as pa

from tracker.answers.frontier import index_document
from tracker.answers.vintages import tables_for
from tracker.frontier.facts import BenchmarkFacts, BoardLicense, ModelFacts, PublishedScore
from tracker.frontier.question import Question
from tracker.frontier.tables import Tables, load_licenses
from tracker.settings import Settings
from tracker.store import Answer, QueryLimits, Relation, bounded_select, open_snapshot

KINDS = {
    "str": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "date": pa.date32(),
    "bool": pa.bool_(),
}

Comments = dict[str, str]  # by column
Rows = Callable[[Tables], Iterable[Any]]

SCORES = {
    "vintage": "Day of the published data that the row comes from",
    "model": "Model; joins to shipped_models and index_values",
    "model_version": "Release and effort that reached the score, as the source names it",
    "benchmark": "Benchmark; joins to shipped_benchmarks",
    "score": "As the index uses it: chance is 0, the ceiling is 1",
    "raw_score": "Score before that, a fraction of 1; null: not recoverable",
    "reported_by": "first_party, third_party or unknown, seen from the developer",
    "reported_by_rule": "Rule behind reported_by",
    "source": "Who published the number; null: not known",
    "source_url": "Where; null: not known",
    "evaluated_on": "When it was run or entered; null: not known",
}
MODELS = {
    "model": "Model as the published data name it",
    "organization": "Developer",
    "country": "Country of the developer",
    "access": "open, closed or unknown, as the source labels it",
    "released": "Release of the group in the source",
    "version_released": "Earliest release that was scored; null: not known",
    "n_params": "Number of parameters; null: not known",
    "n_params_basis": "Where that number comes from",
    "hub_id": "Hub repository; joins to runs.model_id; null: none or not known",
    "hub_id_basis": "Why that repository",
    "hub_created": "When the repository was created",
    "price_in_usd_per_mtok": "US dollars per million input tokens; null: not known",
    "price_out_usd_per_mtok": "US dollars per million output tokens; null: not known",
    "price_source": "Provider and listing of the price",
    "notes": "Notes",
}
BENCHMARKS = {
    "benchmark": "Benchmark as the published data name it",
    "chance": "Raw score that counts as 0",
    "ceiling": "Raw score that counts as 1",
    "chance_basis": "Where chance and ceiling come from",
    "source_scale": "Unit in the source",
    "released": "First publication; null: not certain",
    "released_basis": "Where that date comes from",
    "private_by": "Shortest list that counts its items as private; null: public",
    "domain": "Domain, such as math",
    "superseded_by": "Benchmark that replaces it where a model has both",
    "slope_anchor": "Whether it fixes the slope of the index",
    "n_items": "Number of items; null: not certain",
    "lm_eval_task": "Task of lm-eval; joins to task_scores.task; null: none",
    "lm_eval_match": "close: the same questions, not the same prompt or extraction",
    "url": "Where it is described",
    "description": "What it asks",
    "notes": "Notes",
}
LICENSES = {
    "benchmark": "Benchmark; joins to shipped_scores, for rows that are neither epoch_run nor from a report",
    "board": "Leaderboard that published the scores",
    "url": "Its address; null: not known",
    "license": "Its license or terms; not stated where none was found",
    "redistribution": "allowed, not_allowed or not_stated",
    "basis": "Where the terms stand, or why they are unclear",
}
INDEX = {
    "vintage": "Day of the published data that the index is fitted to",
    "model": "Model; joins to shipped_models",
    "index": "Place on the capability scale",
    "ci_low": "Lower end of the 90% interval",
    "ci_high": "Upper end of the 90% interval",
    "access": "open, closed or unknown",
    "released": "Release",
    "n_benchmarks": "Benchmarks behind the value",
}
INDEX_BENCHMARKS = {
    "vintage": "Day of the published data that the index is fitted to",
    "benchmark": "Benchmark; joins to shipped_benchmarks",
    "difficulty": "Index at which a model scores one half",
    "slope": "Steepness at that place",
    "scatter": "Spread of the scores around the curve",
    "n_models": "Models behind the fit",
}
INDEX_SCHEMA = pa.schema(
    [
        ("vintage", pa.date32()),
        ("model", pa.string()),
        ("index", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("access", pa.string()),
        ("released", pa.date32()),
        ("n_benchmarks", pa.int64()),
    ]
)
INDEX_BENCHMARKS_SCHEMA = pa.schema(
    [
        ("vintage", pa.date32()),
        ("benchmark", pa.string()),
        ("difficulty", pa.float64()),
        ("slope", pa.float64()),
        ("scatter", pa.float64()),
        ("n_models", pa.int64()),
    ]
)


def answer_sql(sql: str, settings: Settings, limits: QueryLimits | None = None) -> Answer:
    """The answer to one SELECT over the newest snapshot, `items` and the shipped relations.

    It is bounded in time, memory and rows: `has_more` tells whether rows were left out.

    Raises:
        TrackerError: it is anything else, DuckDB cannot answer it, or it exceeds a limit.
    """
    with open_snapshot(settings) as snapshot:
        path = snapshot.path
    return bounded_select(
        sql,
        snapshot=path,
        items_path=settings.items_path,
        relations=shipped_relations(settings),
        limits=limits,
    )


def shipped_relations(settings: Settings) -> tuple[Relation, ...]:
    """The relations, each read or fitted when a statement first names it."""
    tables = cache(lambda: tables_for(settings))
    index = cache(lambda: index_document(tables(), Question(), settings))

    def facts(name: str, text: str, record: type[Any], comments: Comments, rows: Rows) -> Relation:
        schema = pa.schema([(field.name, _kind(str(field.type))) for field in fields(record)])
        return Relation(name, text, schema, comments, partial(_facts_table, schema, rows, tables))

    def fitted(name: str, text: str, schema: pa.Schema, comments: Comments, key: str) -> Relation:
        return Relation(name, text, schema, comments, lambda: _index_table(schema, index(), key))

    return (
        facts(
            "shipped_scores",
            "One row per vintage, model and benchmark of the published scores, as collected by Epoch AI; "
            "CC BY 4.0 where reported_by_rule is epoch_run, otherwise see shipped_licenses",
            PublishedScore,
            SCORES,
            lambda found: found.scores,
        ),
        facts(
            "shipped_models",
            "One row per model that has a published score",
            ModelFacts,
            MODELS,
            lambda found: found.models.values(),
        ),
        facts(
            "shipped_benchmarks",
            "One row per benchmark of the published scores",
            BenchmarkFacts,
            BENCHMARKS,
            lambda found: found.benchmarks.values(),
        ),
        facts(
            "shipped_licenses",
            "One row per benchmark with scores from a leaderboard: its terms",
            BoardLicense,
            LICENSES,
            lambda _: load_licenses(),
        ),
        fitted(
            "index_values",
            "One row per model of the newest vintage, with its capability index",
            INDEX_SCHEMA,
            INDEX,
            "models",
        ),
        fitted(
            "index_benchmarks",
            "One row per benchmark of the newest vintage, with its difficulty on the capability index",
            INDEX_BENCHMARKS_SCHEMA,
            INDEX_BENCHMARKS,
            "benchmarks",
        ),
    )


def _facts_table(schema: pa.Schema, rows: Rows, tables: Callable[[], Tables]) -> pa.Table:
    plain = [{name: _plain(value) for name, value in asdict(row).items()} for row in rows(tables())]
    return pa.Table.from_pylist(plain, schema=schema)


def _index_table(schema: pa.Schema, document: dict[str, Any], key: str) -> pa.Table:
    vintage = date.fromisoformat(document["vintage"])
    rows = [{**row, "vintage": vintage} for row in document[key]]
    for row in rows:
        if "released" in row:
            row["released"] = date.fromisoformat(row["released"])
    return pa.Table.from_pylist(rows, schema=schema)


def _kind(annotation: str) -> pa.DataType:
    """The column type of an annotation such as `int | None`; enumerations are text."""
    return KINDS.get(annotation.removesuffix(" | None"), pa.string())


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
