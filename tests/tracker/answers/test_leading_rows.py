"""The rows among which the best for each memory size are: the same bests as from all rows, from a few."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa

from tests.builders.some_runs import model, run, score, store_runs
from tracker.answers.digest_memory import _bests, leading_scores, read_bests
from tracker.memory_estimate import GB, MEMORY_GB, row_needed_bytes
from tracker.records.origins import Origin
from tracker.settings import Settings
from tracker.store import open_snapshot

COLUMNS = ("model_id", "suite", "run_id", "task", "value")  # of the query `values_of_runs`


def test_leading_rows_have_the_bests_of_all_rows_and_are_few() -> None:
    dice = random.Random(7)
    sizes = [None, *(int(size * GB * 0.7) for size in (1, 7, *MEMORY_GB))]
    needs = {f"org/model-{n}": dice.choice(sizes) for n in range(300)}
    rows = [
        {
            "suite": suite,
            "task": task,
            "model_id": model_id,
            "run_id": f"{suite} {model_id}",
            "value": round(dice.random(), 2),
            "weights_bytes": weights_bytes,
            "n_params": None,
        }
        for suite in ("quick", "smoke")
        for task in ("sums", "words")
        for model_id, weights_bytes in needs.items()
    ]
    read = rows.copy()
    dice.shuffle(read)
    table = pa.Table.from_pylist([{name: row[name] for name in COLUMNS} for row in read])
    found = leading_scores(table, {row["run_id"]: row_needed_bytes(row) for row in rows})
    rows.sort(
        key=lambda row: (row["suite"], row["task"], -row["value"], row["model_id"])
    )  # as the query does
    assert _bests(row for row in rows if (row["run_id"], row["task"]) in found) == _bests(rows)
    assert {key[0] for key in _bests(rows)} == {"quick"}
    assert len(found) < len(rows) / 10


def test_an_imported_score_hides_no_best_that_was_measured_here(settings: Settings) -> None:
    here, elsewhere = model(), replace(model(), model_id="acme/other (imported)", n_params=1_000_000)
    origin = Origin("lm-eval", None, "results.json", "0" * 64, datetime(2026, 11, 24, tzinfo=UTC))
    measured = run(1, of=here)
    imported = run(2, of=elsewhere, origin=origin, scores=(score("gpqa", elsewhere, 0.99),))
    store_runs(settings, measured, imported)
    with open_snapshot(settings) as snapshot:
        found = read_bests(snapshot, datetime(2027, 1, 1))  # noqa: DTZ001 - as the database keeps it
    assert {(row["model_id"], row["task"]) for row in found} == {
        (here.model_id, one.task) for one in measured.scores
    }
