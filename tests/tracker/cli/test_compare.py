"""`tracker compare`: the difference of two models on shared items, with its interval."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.builders.some_runs import (
    items,
    key_of,
    model,
    run,
    store_runs,
)
from tracker.cli import main
from tracker.files.items import write_part, write_run
from tracker.records import Item, Run, TaskScore, fingerprint
from tracker.settings import Settings
from tracker.store import Store, publish

A, B = model("acme/atlas-8b"), model("acme/bolt-7b")


def one_task(number: int, answers: list[Item], of: Any) -> tuple[Run, list[Item]]:
    task = answers[0].task
    score = TaskScore(
        task, "acc", "none", 0.5, 0.1, 0.3, 0.7, len(answers), 0.0, 0.0, key_of(task, of)
    )  # fmt: skip
    return run(number, of=of, scores=(score,)), answers


def store(settings: Settings, *measured: tuple[Run, list[Item]]) -> None:
    with Store.open(settings) as db:
        for a_run, answers in measured:
            write_run(settings.items_path, a_run)
            write_part(settings.items_path, a_run.run_id, a_run.scores[0].fingerprint, answers)
            db.add_run(a_run)
    publish(settings)


def scored(values: list[float], *, clusters: list[str] | None = None) -> list[Item]:
    return [
        replace(item, score=value, cluster=clusters[i] if clusters else None)
        for i, (item, value) in enumerate(zip(items("count_letters", len(values)), values, strict=True))
    ]


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main(["compare", "acme/atlas-8b", "acme/bolt-7b", *arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_the_difference_is_over_shared_items_only(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = [1.0] * 12 + [0.0] * 8, [1.0] * 4 + [0.0] * 10
    store(settings, one_task(1, scored(first), A), one_task(2, scored(second), B))
    (row,) = compared(capsys)["tasks"]
    assert row["n_items"] == 14
    assert row["first_value"] == pytest.approx(12 / 14)
    assert row["difference"] == pytest.approx(8 / 14)
    assert (row["n_only_first"], row["n_only_second"]) == (8, 0)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**8)
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert 0.0 < row["smallest_detectable_difference"] < 1.0


def test_items_that_share_a_context_count_as_one_cluster(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    clusters = [f"passage {i // 5}" for i in range(20)]
    first, second = ([1.0] * 5 + [0.0] * 5) * 2, [0.0] * 20
    store(
        settings,
        one_task(1, scored(first, clusters=clusters), A),
        one_task(2, scored(second, clusters=clusters), B),
    )
    (row,) = compared(capsys)["tasks"]
    assert row["n_clusters"] == 4
    assert row["stderr"] > 0.2  # single items would say 0.11
    assert row["mcnemar_p"] == pytest.approx(0.5)  # two passages differ: the same way in half of all swaps


def test_scores_between_right_and_wrong_have_no_mcnemar_test(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store(settings, one_task(1, scored([0.25, 0.5, 1.0]), A), one_task(2, scored([0.0, 0.5, 0.5]), B))
    (row,) = compared(capsys)["tasks"]
    assert row["mcnemar_p"] is None
    assert row["difference"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("acme/atlas-8b", "acme/atlas-8b"), "cannot be compared with itself"),
        (("acme/atlas-8b", "acme/bolt"), "did you mean"),
        (("acme/atlas-8b", "acme/bolt-7b", "--task", "sort_words"), "no item in common in task `sort_words`"),
    ],
    ids=["itself", "typo", "nothing shared"],
)
def test_what_cannot_be_compared_is_one_sentence(
    settings: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    store(settings, one_task(1, scored([1.0, 0.0]), A), one_task(2, scored([1.0, 1.0]), B))
    with pytest.raises(SystemExit) as raised:
        main(["compare", *arguments])
    assert raised.value.code == 1
    assert says in capsys.readouterr().err


def test_people_see_points(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    store_runs(settings)
    store(settings, one_task(1, scored([1.0, 0.0, 1.0]), A), one_task(2, scored([1.0, 1.0, 0.0]), B))
    main(["compare", "atlas-8b", "bolt-7b"])
    assert "count_letters" in capsys.readouterr().out


def test_the_best_measured_run_of_each_is_compared_and_its_settings_told(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = one_task(1, scored([1.0, 1.0, 0.0, 0.0]), A)
    look, answers = one_task(4, scored([0.0, 0.0]), replace(A, quantization="fp8"))
    assert whole[0].engine is not None
    key = fingerprint({"of": "fp8"})
    look = replace(
        look,
        engine=replace(whole[0].engine, dtype="float8", quantization="fp8"),
        scores=(replace(look.scores[0], fingerprint=key),),
    )
    store(settings, whole, (look, answers), one_task(2, scored([0.0] * 4), B))
    (row,) = compared(capsys)["tasks"]
    assert (row["n_items"], row["first_value"]) == (4, 0.5)
    assert row["first_run"] == {
        "run_id": whole[0].run_id, "revision": A.revision, "engine": "transformers", "dtype": "float32",
        "quantization": None, "imported_from": None, "origin_note": None,
    }  # fmt: skip
    main(["compare", "atlas-8b", "bolt-7b"])
    said = capsys.readouterr().out
    assert "first:  acme/atlas-8b · transformers · float32 · as published · revision 0a1b2c3d\n" in said
    assert "float8" not in said


def test_one_run_of_settings_answers_every_task_of_a_comparison(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, other = run(1), run(2)
    assert other.engine is not None
    few, many = (replace(other.scores[0], n_items=4), replace(other.scores[1], n_items=12))
    other = replace(other, engine=replace(other.engine, dtype="bfloat16"), scores=(few, many))
    repeated = replace(run(3), n_reused_items=30)
    store_runs(settings, plain, other, repeated, run(4, of=B))
    assert {row["first_run"]["run_id"] for row in compared(capsys)["tasks"]} == {plain.run_id}
