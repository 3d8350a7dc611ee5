"""The rows among which the best for each memory size are: the same bests as from all rows, from a few."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

from tests.builders.some_runs import model, run, score, store_runs
from tracker.answers.digest_memory import _bests, read_bests
from tracker.memory_estimate import GB, MEMORY_GB
from tracker.records.origins import Origin
from tracker.settings import Settings
from tracker.store import open_snapshot

AFTER = datetime(2027, 1, 1)  # noqa: DTZ001 - as the database keeps it
SUITES, TASKS, N_MODELS = ("quick", "smoke"), ("sums", "words"), 60


def test_leading_rows_have_the_bests_of_all_rows_and_are_few(settings: Settings) -> None:
    dice = random.Random(7)
    sizes = [None, *(int(size * GB * 0.35) for size in (1, 7, *MEMORY_GB))]  # 16 bits each
    models = [model(f"org/model-{n}", n_params=dice.choice(sizes)) for n in range(N_MODELS)]
    runs = [
        run(
            N_MODELS * place + n,
            of=one,
            suite=suite,
            scores=tuple(score(task, one, round(dice.random(), 2)) for task in TASKS),
        )
        for n, one in enumerate(models)
        for place, suite in enumerate(SUITES)
    ]
    dice.shuffle(runs)
    store_runs(settings, *runs)
    with open_snapshot(settings) as snapshot:
        found = read_bests(snapshot, AFTER)
        newest = {row["run_id"]: row for row in snapshot.query("newest_whole_runs", at=AFTER)}
        of_all = snapshot.query("scores_of_tasks")
    every = [newest[row["run_id"]] | row for row in of_all]
    assert len(every) == N_MODELS * len(SUITES) * len(TASKS)
    assert _bests(found) == _bests(every)
    assert {key[0] for key in _bests(every)} == {"quick"}
    assert len(found) < len(every) / 5


def test_an_imported_score_hides_no_best_that_was_measured_here(settings: Settings) -> None:
    here, elsewhere = model(), replace(model(), model_id="acme/other (imported)", n_params=1_000_000)
    origin = Origin("lm-eval", None, "results.json", "0" * 64, datetime(2026, 11, 24, tzinfo=UTC))
    measured = run(1, of=here)
    imported = run(2, of=elsewhere, origin=origin, scores=(score("gpqa", elsewhere, 0.99),))
    store_runs(settings, measured, imported)
    with open_snapshot(settings) as snapshot:
        found = read_bests(snapshot, AFTER)
    assert {(row["model_id"], row["task"]) for row in found} == {
        (here.model_id, one.task) for one in measured.scores
    }
