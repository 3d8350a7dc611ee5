"""A run of the store is placed on the index, or the reason is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.builders.some_runs import run, score
from tracker.answers.documents import placement_document
from tracker.answers.placement import (
    FIRST_ITEMS,
    NOT_ENDED,
    equal_text,
    index_scale,
    newest_placement,
    place_run,
)
from tracker.cli.bench_output import document, print_run
from tracker.frontier.bridges import ModelVariant, index_names, shipped_bridges, task_scales, variant_of
from tracker.frontier.definitions import CURRENT_AGE, STANDING_LAG
from tracker.frontier.paired_shift import IndexShift, NoShift, ScoreShift, index_shift
from tracker.frontier.placement import Placement, Scale, Unplaced
from tracker.frontier.tables import load_harness_scores, load_tables
from tracker.records import Run, RunStatus
from tracker.records.published import Batch, SourceModel
from tracker.settings import Settings
from tracker.store import Store, publish

PLACEMENT_CONTRACT = {
    "index", "ci_low", "ci_high", "months_behind", "months_ci_low", "months_ci_high", "tasks", "open_equal",
    "range_low", "range_high", "in_range", "n_bridges", "mean_error",
}  # fmt: skip
ANCHORS = ("mmlu", "gsm8k", "arc_challenge", "hellaswag", "winogrande")


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Scale:
    """The scale of the shipped tables, fitted once."""
    return index_scale(load_tables(), Settings(home=tmp_path_factory.mktemp("scale")))


def measured(model_id: str, number: int = 1, **values: float) -> Run:
    """A run of a model with these scores by task, over 200 random items each."""
    a_run = run(number)
    model = replace(a_run.model, model_id=model_id)
    scores = tuple(
        replace(score(task, model, value), n_items=200, n_total=200, stderr=None)
        for task, value in values.items()
    )
    return replace(a_run, model=model, suite="place", scores=scores, limit=200, sample_seed=0)


def placed(a_run: Run, settings: Settings, scale: Scale) -> Placement:
    found = place_run(a_run, settings, scale)
    assert isinstance(found, Placement), found
    return found


@pytest.fixture
def empty(settings: Settings) -> Settings:
    """A home without any run."""
    with Store.open(settings):
        pass
    publish(settings)
    return settings


def published_values(model_id: str, tasks: tuple[str, ...]) -> dict[str, float]:
    """The published lm-eval scores of a model."""
    rows = [row for row in load_harness_scores() if row.hub_id == model_id and row.task in tasks]
    return {row.task: row.score for row in rows}


PUBLISHED = [
    ("mistralai/Mistral-7B-v0.1", ANCHORS),
    ("google/gemma-7b", ANCHORS),
    ("meta-llama/Llama-2-70b-hf", ANCHORS),
    ("google/gemma-2-9b-it", ("leaderboard_mmlu_pro", "leaderboard_bbh")),
    ("meta-llama/Llama-3.1-8B-Instruct", ("leaderboard_mmlu_pro", "leaderboard_bbh")),
    ("openai/gpt-oss-120b", ("gpqa_diamond_cot_zeroshot",)),
]


@pytest.mark.parametrize(("model_id", "tasks"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_placement_of_a_published_model_by_its_lm_eval_scores_contains_its_index_on_day_one(
    empty: Settings, scale: Scale, model_id: str, tasks: tuple[str, ...]
) -> None:
    found = placed(measured(model_id, **published_values(model_id, tasks)), empty, scale)
    name = index_names(load_tables().models.values())[model_id]
    truth = float(scale.fit.index[scale.fit.data.models.index(name)])
    assert (found.calibrated, found.in_range) == (True, True)
    assert found.ci_low <= truth <= found.ci_high
    assert found.ci_high - found.ci_low < 18
    assert found.n_bridges >= 10


def test_placement_below_every_closed_model_names_the_small_open_model_that_it_equals(
    empty: Settings, scale: Scale, capsys: pytest.CaptureFixture[str]
) -> None:
    values = dict(zip(ANCHORS, (0.60, 0.35, 0.58, 0.80, 0.75), strict=True))
    weak = placed(measured("acme/weak-7b", **values), empty, scale)
    better = placed(measured("acme/better-7b", **{**values, "mmlu": 0.70, "gsm8k": 0.55}), empty, scale)
    assert (weak.below_closed, better.below_closed) == (True, True)
    assert weak.months_behind == better.months_behind  # the bound is one number for all of them
    assert weak.open_equal is not None
    assert better.open_equal is not None
    assert weak.open_equal.released < better.open_equal.released
    assert weak.open_equal.months_behind > better.open_equal.months_behind
    assert equal_text(weak).startswith("equals the best open model under 10B of ")
    from rich.console import Console

    print_run(Console(width=400), measured("acme/weak-7b", **values), weak)
    said = capsys.readouterr().out
    assert equal_text(weak) in said
    assert "at least" in said
    shown = placement_document(weak)["placement"]
    assert shown["open_equal"]["released"] == weak.open_equal.released.isoformat()


def test_placement_by_a_random_sample_is_less_certain_than_by_all_items(
    empty: Settings, scale: Scale
) -> None:
    values = published_values("mistralai/Mistral-7B-v0.1", ANCHORS)
    sample = measured("acme/new-7b", **values)
    few = replace(
        sample,
        scores=tuple(
            replace(s, n_items=25, stderr=(s.value * (1 - s.value) / 25) ** 0.5) for s in sample.scores
        ),
    )
    many = replace(
        sample,
        scores=tuple(
            replace(s, n_items=10_000, stderr=(s.value * (1 - s.value) / 10_000) ** 0.5)
            for s in sample.scores
        ),
    )
    wide, narrow = placed(few, empty, scale), placed(many, empty, scale)
    assert wide.ci_high - wide.ci_low > 1.3 * (narrow.ci_high - narrow.ci_low)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"suite": "quick", "scores": run(1).scores}, "the index contains none of these tasks"),
        ({"limit": 50, "sample_seed": None}, FIRST_ITEMS.format(limit=50)),
        ({"status": RunStatus.INTERRUPTED, "reason": "interrupted"}, NOT_ENDED),
        ({"status": RunStatus.FAILED, "reason": "engine_died"}, NOT_ENDED),
        ({"status": RunStatus.RUNNING}, NOT_ENDED),
    ],
    ids=["quick", "the first fifty items", "interrupted", "its engine died", "under way"],
)
def test_placement_a_run_that_cannot_be_placed_says_why(
    settings: Settings, change: dict[str, object], says: str
) -> None:
    a_run = measured("acme/atlas-8b", mmlu=0.65)
    unplaced = place_run(replace(a_run, **change), settings)  # type: ignore[arg-type]
    assert isinstance(unplaced, Unplaced)
    assert says in unplaced.reason
    shown = document(a_run, unplaced)
    assert (shown["placement"], shown["placement_note"]) == (None, unplaced.reason)


def test_placement_own_runs_replace_the_published_scores_of_the_same_model(
    empty: Settings, scale: Scale
) -> None:
    new = measured("acme/new-7b", 99, mmlu=0.60)
    before = placed(new, empty, scale)
    lower = [
        replace(measured(row, number, mmlu=published_values(row, ("mmlu",))["mmlu"] - 0.08), limit=None)
        for number, row in enumerate(OWN, 2)
    ]
    with Store.open(empty) as store:
        store.add_runs(lower)
    publish(empty)
    after = placed(new, empty, scale)
    assert after.n_bridges == before.n_bridges
    assert after.index > before.index + 1.0  # known models score lower here, so 0.60 is worth more


OWN = tuple(
    row.hub_id
    for row in load_harness_scores()
    if row.task == "mmlu" and row.hub_id in index_names(load_tables().models.values()) and row.score > 0.45
)


def test_placement_of_a_model_that_thinks_does_not_count_answers_without_thinking(
    empty: Settings, scale: Scale
) -> None:
    a_run = measured("acme/thinker-8b", mmlu=0.70, gpqa_diamond_cot_zeroshot=0.66)
    alone = placed(measured("acme/thinker-8b", gpqa_diamond_cot_zeroshot=0.66), empty, scale)
    thinking = placed(replace(a_run, thinks=True), empty, scale)
    assert (thinking.index, thinking.tasks) == (alone.index, alone.tasks)
    assert "answered without thinking, so not counted: mmlu" in thinking.note


def test_placement_the_model_itself_is_no_bridge() -> None:
    names = index_names(load_tables().models.values())
    rows = shipped_bridges(load_harness_scores(), names, task_scales(load_tables().benchmarks))
    assert len({row.model for row in rows if row.task == "mmlu"}) == 44
    assert {row.variant for row in rows if row.model == "Gemma 2 9B"} == {
        ModelVariant.INSTRUCT
    }  # joined by hub_id


def test_placement_newest_placement_passes_over_runs_that_say_nothing() -> None:
    reasons = {"3": Unplaced("quick"), "2": None, "1": Unplaced("old")}
    assert newest_placement(["3", "2", "1"], reasons.__getitem__) == ("2", None)
    assert newest_placement(["3", "1"], reasons.__getitem__) == ("3", Unplaced("quick"))
    assert newest_placement([], reasons.__getitem__) is None


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("google/gemma-2-9b-it", ModelVariant.INSTRUCT),
        ("acme/Atlas-8B-Instruct", ModelVariant.INSTRUCT),
        ("acme/atlas-8b-base", ModelVariant.BASE),
        ("google/gemma-3-4b-pt", ModelVariant.BASE),
        ("acme/atlas-8b", None),
        ("acme/digital-8b", None),
    ],
)
def test_placement_variant_is_known_from_published_scores_or_the_name(
    model_id: str, expected: ModelVariant | None
) -> None:
    assert variant_of(model_id) == expected
    assert variant_of("mistralai/Mistral-7B-v0.1", load_harness_scores()) is ModelVariant.BASE


def test_placement_shipped_lm_eval_scores_have_a_license_and_none_of_the_known_traps() -> None:
    rows = load_harness_scores()
    assert len(rows) == 1095
    assert all(row.license and row.license != "none stated" and row.source_url for row in rows)
    assert not [row for row in rows if "suspect" in (row.notes or "")]
    strict = [row for row in rows if row.task == "gsm8k" and row.filter == "strict-match"]
    assert {row.variant for row in strict if row.source.startswith("Open LLM")} == {"base"}
    chat_math = [row for row in rows if row.task == "leaderboard_math_hard" and row.variant == "instruct"]
    assert all("repaired answer parser" in (row.notes or "") for row in chat_math)


def test_placement_a_home_without_a_snapshot_places_too(settings: Settings, scale: Scale) -> None:
    assert not Path(settings.db_path).exists()
    assert placed(measured("acme/new-7b", mmlu=0.6), settings, scale).calibrated


def test_placement_counts_from_the_day_on_which_the_hub_released_the_model(
    empty: Settings, scale: Scale
) -> None:
    a_run = measured("acme/new-7b", mmlu=0.65)
    assert placed(a_run, empty, scale).definition == CURRENT_AGE
    listed = SourceModel("acme/new-7b", released_at=datetime(2026, 5, 1, tzinfo=UTC))
    with Store.open(empty) as store:
        store.add_batch(
            Batch(models=(listed,)),
            source="hub-models",
            ingest_id="1",
            seen_at=datetime(2026, 6, 1, tzinfo=UTC),
        )
    publish(empty)
    assert placed(a_run, empty, scale).definition == STANDING_LAG


@pytest.mark.parametrize(
    ("change", "suite", "says"),
    [
        ({"metric": "acc_norm"}, "anchor-small", "`mmlu` was measured by `acc_norm, none`"),
        ({"filter": "strict"}, "anchor-small", "its published scores by `acc, none`"),
        ({}, "tasks", "without the 5 examples of its published scores"),
    ],
    ids=["another metric", "another filter", "no examples"],
)
def test_placement_of_a_score_taken_in_another_way_is_refused(
    empty: Settings, change: dict[str, str], suite: str, says: str
) -> None:
    a_run = measured("acme/new-7b", mmlu=0.65)
    scores = tuple(replace(one, **change) for one in a_run.scores)
    found = place_run(replace(a_run, scores=scores, suite=suite), empty)
    assert isinstance(found, Unplaced)
    assert says in found.reason


GEMMA, GEMMA_TASKS = "google/gemma-2-9b-it", ("leaderboard_mmlu_pro", "leaderboard_bbh")


def shifts(change: float, *, stderr: float = 0.005) -> list[ScoreShift]:
    """The published scores of a model on two tasks, and by how much a copy changes both."""
    values = published_values(GEMMA, GEMMA_TASKS)
    return [ScoreShift(task, value, value + change, 0.01, stderr) for task, value in values.items()]


def shifted(scale: Scale, rows: list[ScoreShift]) -> IndexShift | NoShift:
    tables = load_tables()
    names, scales = index_names(tables.models.values()), task_scales(tables.benchmarks)
    bridges = shipped_bridges(load_harness_scores(), names, scales)
    return index_shift(rows, scale, bridges, variant=ModelVariant.INSTRUCT)


def test_a_paired_loss_is_worth_the_move_on_the_index_and_months_of_the_closed_frontier(scale: Scale) -> None:
    found = shifted(scale, shifts(-0.02))
    assert isinstance(found, IndexShift), found
    assert found.points_ci_low < found.points < found.points_ci_high < 0.0
    assert 0.0 < found.months_ci_low < found.months_behind < found.months_ci_high
    # the pace, by brute force: the best closed model by the end of each of 25 months, and a straight line
    closed = ~scale.axis.is_open
    days = [scale.as_of.toordinal() - 30.4375 * ago for ago in range(24, -1, -1)]
    best = [scale.axis.value[closed & (scale.axis.released <= day)].max() for day in days]
    pace = float(np.polyfit(np.arange(25), best, 1)[0])
    assert found.points_per_year == pytest.approx(12 * pace)
    assert found.months_behind == pytest.approx(-found.points / pace)
    assert 2 * found.points == pytest.approx(shifted_points(scale, -0.04), rel=0.1)


def shifted_points(scale: Scale, change: float) -> float:
    found = shifted(scale, shifts(change))
    assert isinstance(found, IndexShift)
    return found.points


def test_equal_scores_are_no_shift_and_the_interval_is_as_wide_as_their_difference_is_unsure(
    scale: Scale,
) -> None:
    narrow, wide = shifted(scale, shifts(0.0, stderr=0.001)), shifted(scale, shifts(0.0, stderr=0.01))
    assert isinstance(narrow, IndexShift)
    assert isinstance(wide, IndexShift)
    assert narrow.points == narrow.months_behind == 0.0
    assert wide.points_ci_low < narrow.points_ci_low < 0.0 < narrow.points_ci_high < wide.points_ci_high
    assert wide.points_ci_high / narrow.points_ci_high == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(
    ("task", "value", "says"),
    [("mmlu", 0.255, "below the range of"), ("unknown_task", 0.5, "nothing is known of these tasks")],
    ids=["a model at chance", "a task off the index"],
)
def test_where_a_point_has_no_known_worth_there_are_no_months(
    scale: Scale, task: str, value: float, says: str
) -> None:
    found = shifted(scale, [ScoreShift(task, value, value - 0.005, 0.01, 0.005)])
    assert isinstance(found, NoShift)
    assert says in found.reason
