"""A task that ends once its model is told apart from a reference on the same items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paired_stopping import Case, stopped
from tests.builders.some_runs import model as some_model
from tests.runners.harness.test_worker import job, rules, run
from tests.tracker.cli.test_compare import one_task, scored, store
from tracker.answers.run_lines import outcome_document, paired_line
from tracker.bench.request import BenchRequest
from tracker.bench.run import paired_reference
from tracker.errors import TrackerError, UsageError
from tracker.records import EngineSettings, Model, Suite, Task
from tracker.records.paired import PairedOutcome, PairedReference, PairedVerdict
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.stats import anytime_difference, refuted_after
from tracker.store import open_snapshot
from tracker.suites import get_suite

REFERENCE = "acme/reference-1b"


def test_paired_stopping_ends_a_task_once_the_two_are_told_apart_and_asks_all_items_of_two_alike(
    settings: Settings, model_folder: Path
) -> None:
    made = replace(job(settings, model_folder), model=Model(REFERENCE, "0" * 40, path=str(model_folder)))
    first, _ = run(settings, replace(made, limit=60, sample_seed=0))
    fingerprint = first.runs[0].scores[0].fingerprint
    reference = PairedReference(REFERENCE, {"sums-suite": {"sums": fingerprint}})

    alike, _ = run(settings, job(settings, model_folder, run_id="run-2", reference=reference))
    (outcome,) = alike.runs[0].against
    assert (outcome.verdict, outcome.difference) == (PairedVerdict.NOT_TOLD_APART, 0.0)
    assert outcome.n_items == outcome.n_total == alike.runs[0].n_items == 60

    asked = job(settings, rules(model_folder, loses=0.9), "sums", "parity", run_id="run-3")
    made = replace(asked, model=Model("acme/worse-1b", "1" * 40, path=str(model_folder)))
    worse, _ = run(settings, replace(made, reference=reference))
    (outcome,), (score,) = worse.runs[0].against, worse.runs[0].scores
    assert (outcome.reference, outcome.task, outcome.verdict) == (REFERENCE, "sums", PairedVerdict.WORSE)
    assert outcome.ci_low < outcome.difference < outcome.ci_high < 0
    assert (outcome.n_items, outcome.n_total, score.n_total) == (score.n_items, 60, 400)
    assert score.n_items in {12, 28}
    assert score.ci_low < score.value < score.ci_high  # type: ignore[operator]
    assert outcome_document(outcome) == dump(outcome) | {"verdict": "worse"}
    points = f"{100 * outcome.difference:+.1f} points"
    assert paired_line(outcome_document(outcome)).startswith(f"sums: worse than {REFERENCE}: {points}")
    assert f"`{REFERENCE}` has no stored score of any of its items" in " ".join(worse.runs[0].warnings)


def test_paired_stopping_beside_a_precision_or_repeats_is_refused() -> None:
    request = BenchRequest("demo", EngineSettings(), until_better_than="acme/a")
    with pytest.raises(UsageError, match="cannot be combined with `--until`"):
        replace(request, until_half_width=0.01)
    with pytest.raises(UsageError, match="cannot be combined with repeats"):
        replace(request, repeats=4)


def test_paired_stopping_in_an_empty_home_says_how_to_get_a_reference(settings: Settings) -> None:
    request = BenchRequest("demo", EngineSettings(), until_better_than="acme/a")
    with pytest.raises(TrackerError, match="nothing has been measured here yet") as raised:
        paired_reference(request, [get_suite("smoke")], settings)
    assert raised.value.hint == "`tracker bench acme/a --suite smoke` measures it"


def test_paired_stopping_names_a_reference_that_was_measured_on_the_same_suite(settings: Settings) -> None:
    known = some_model("acme/atlas-8b")
    store(settings, one_task(1, scored([1.0, 0.0] * 4), known))
    request = BenchRequest("acme/other-8b", EngineSettings(), until_better_than="atlas-8b")
    (row,) = _runs(settings)
    suite = Suite(row["suite"], row["suite_version"], "", (Task("sums"),))
    found = paired_reference(request, [suite], settings)
    assert found is not None
    assert (found.model_id, list(found.fingerprints)) == ("acme/atlas-8b", [suite.name])
    with pytest.raises(TrackerError, match="was not measured on `other`"):
        paired_reference(request, [replace(suite, name="other")], settings)
    with pytest.raises(TrackerError, match="cannot be its own reference"):
        paired_reference(replace(request, model="acme/atlas-8b"), [suite], settings)


def _runs(settings: Settings) -> list[dict[str, Any]]:
    with open_snapshot(settings) as snapshot:
        return [dict(row) for row in snapshot.query("runs")]


@pytest.mark.parametrize("bad", [{"ci_high": -0.1}, {"n_items": 13}])
def test_paired_outcome_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    good = PairedOutcome("acme/a", "sums", 12, 12, 0.0, -0.1, 0.1)
    with pytest.raises(ValueError, match="sums"):
        replace(good, **bad)  # type: ignore[arg-type]


def test_anytime_difference_is_that_of_the_first_minus_the_second() -> None:
    better, worse = [1.0] * 90 + [0.0] * 10, [0.0] * 60 + [1.0] * 40
    found = anytime_difference(better, worse)
    mirrored = anytime_difference(worse, better)
    assert found.value == pytest.approx(0.5)
    assert 0 < found.low < 0.5 < found.high
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-4)


def test_paired_stopping_tells_equal_models_apart_rarely_and_covers_the_difference() -> None:
    rng = np.random.default_rng(1)
    equal = [stopped(Case(0.6, 0.2, 0.0), 600, rng) for _ in range(150)]
    other = [stopped(Case(0.6, 0.2, 0.1), 600, rng) for _ in range(100)]
    assert sum(one.is_told_apart for one in equal) <= 7  # 5% of 150
    assert sum(one.is_covered for one in other) >= 95
    assert sum(one.is_told_apart for one in other) >= 80
    assert not any(one.is_told_apart and one.is_better for one in other)


def test_refuted_after_is_where_the_interval_of_the_difference_first_excludes_it() -> None:
    reference, model = [1.0, 1.0, 0.0, 1.0] * 20, [0.0, 0.0, 1.0, 0.0] * 20
    n = refuted_after(model, reference, 0.0)
    assert n is not None
    assert anytime_difference(model[:n], reference[:n]).high < 0
    assert anytime_difference(model[: n - 1], reference[: n - 1]).high > 0
    assert refuted_after(model, model, 0.0) is None
