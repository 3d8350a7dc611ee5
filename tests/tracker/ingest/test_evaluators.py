"""Every Eval Ever: what several evaluators say of one model and benchmark is kept apart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.doubles.sources_double import SourcesHub
from tests.tracker.ingest.test_damaged_answers import known, once
from tests.tracker.ingest.test_ingest import hub, there
from tracker.records.published import score_key
from tracker.settings import Settings
from tracker.store import Store

__all__ = ["hub", "there"]

SOURCE = "every-eval-ever"
BENCHMARKS = ("IFEval", "BBH", "MATH Level 5")


def record(organization: str, relation: str, *, more: float = 0.0, retrieved: str = "1770682486.6") -> Any:
    return {
        "schema_version": "0.2.0",
        "retrieved_timestamp": retrieved,
        "source_metadata": {
            "source_type": "documentation",
            "source_organization_name": organization,
            "evaluator_relationship": relation,
        },
        "model_info": {"id": "TencentARC/LLaMA-Pro-8B-Instruct", "name": "LLaMA-Pro-8B-Instruct"},
        "evaluation_results": [
            {
                "evaluation_name": name,
                "source_data": {"dataset_name": name},
                "metric_config": {"lower_is_better": False, "min_score": 0.0, "max_score": 1.0},
                "score_details": {"score": 0.1 * n + more},
            }
            for n, name in enumerate(BENCHMARKS, 2)
        ],
    }


def put(hub: SourcesHub, **records: Any) -> None:
    hub.records = {f"flat/objects/aa/{name}.json": one for name, one in records.items()}


def values(there: Settings) -> list[tuple[Any, ...]]:
    with Store.open(there) as store:
        return store._connection.execute(
            "select reporter, reported_by, benchmark, value from current_scores"
            " where not is_withdrawn order by all"
        ).fetchall()


@pytest.fixture
def two(hub: SourcesHub) -> SourcesHub:
    put(
        hub,
        aa=record("Hugging Face", "third_party"),
        bb=record("TencentARC", "first_party", more=0.2),
    )
    return hub


def test_two_evaluators_of_one_model_and_benchmark_are_both_kept(there: Settings, two: SourcesHub) -> None:
    outcome = once(there, SOURCE)
    assert (outcome.n_seen, outcome.n_new, outcome.n_overwritten) == (6, 6, 0)
    assert {(who, by) for who, by, *_ in values(there)} == {
        ("Hugging Face", "third_party"),
        ("TencentARC", "first_party"),
    }
    before = known(there)
    again = once(there, SOURCE)
    assert (again.n_new, again.n_changed, again.n_gone) == (0, 0, 0)
    assert known(there) == before


@pytest.mark.parametrize("order", [("aa", "bb"), ("bb", "aa")])
def test_of_two_records_by_one_evaluator_the_later_retrieved_counts(
    there: Settings, hub: SourcesHub, order: tuple[str, str]
) -> None:
    older, newer = order
    put(
        hub,
        **{
            older: record("Acme Evals", "third_party", retrieved="1770000000"),
            newer: record("Acme Evals", "third_party", more=0.3, retrieved="2026-11-01T00:00:00Z"),
        },
    )
    outcome = once(there, SOURCE)
    assert (outcome.n_new, outcome.n_overwritten) == (3, 3)
    assert [value for *_, value in values(there)] == pytest.approx([0.6, 0.5, 0.7])
    assert once(there, SOURCE).n_changed == 0


def test_rows_of_an_older_version_are_neither_gone_nor_new(there: Settings, two: SourcesHub) -> None:
    once(there, SOURCE)
    with Store.open(there) as store:  # as it was kept before: one key for both, the later one counts
        rows = store._connection.execute("select name, benchmark, variant from published_scores").fetchall()
        for name, benchmark, variant in set(rows):
            store._connection.execute(
                "update published_scores set key = ? where benchmark = ?",
                [score_key(name, benchmark, variant), benchmark],
            )
        store._connection.execute("delete from published_scores where reporter = 'Hugging Face'")
    outcome = once(there, SOURCE)
    assert (outcome.n_new, outcome.n_changed, outcome.n_gone) == (3, 0, 0)
    assert len(values(there)) == 6
    with Store.open(there) as store:
        counts = store._connection.execute(
            "select count(*), count(distinct key) from published_scores"
        ).fetchall()
    assert counts == [(6, 6)]


def test_a_series_has_one_value_per_model_and_prefers_the_third_party(
    there: Settings, two: SourcesHub
) -> None:
    once(there, SOURCE)
    with Store.open(there) as store:
        rows = store.query("dated_scores", source=SOURCE, benchmark="BBH", variant="BBH")
    assert [row["value"] for row in rows] == pytest.approx([0.3])
