"""What a model gives for the memory and the time that it took here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders.some_runs import model, run, score
from tracker.answers.pareto import MeasuredCost, measured_offers
from tracker.cli import main
from tracker.errors import TrackerError, UnknownNameError
from tracker.files.items import write_run
from tracker.records import Cost, EngineInfo, TaskScore
from tracker.settings import Settings
from tracker.store import Store, publish

GPQA = "gpqa_diamond_cot_zeroshot"
CPU = EngineInfo("transformers", "5.19.0", "float32", "cpu", 2048)


def measured(
    settings: Settings, *rows: tuple[str, str, float, int, float], device: tuple[str, ...] = ()
) -> None:
    """One complete run per row: model, task, score, peak bytes, tokens per second."""
    with Store.open(settings) as store:
        for number, (name, task, value, memory, speed) in enumerate(rows, start=1):
            of = model(name)
            one: TaskScore = replace(score(task, of), value=value, stderr=0.02, n_items=400)
            one = replace(one, ci_low=value - 0.04, ci_high=value + 0.04)
            engine = replace(CPU, device=device[number - 1]) if device else CPU
            cost = Cost(duration_s=1.0, tokens_per_s=speed, peak_memory_bytes=memory)
            made = run(number, of=of, scores=(one,), cost=cost, engine=engine)
            write_run(settings.items_path, made)
            store.add_run(made)
    publish(settings)


THREE = (
    ("acme/small", "sums", 0.40, 2_000_000_000, 90.0),
    ("acme/large", "sums", 0.80, 9_000_000_000, 30.0),
    ("acme/waste", "sums", 0.35, 8_000_000_000, 40.0),
)


def test_pareto_a_model_that_takes_more_memory_for_less_is_off_the_frontier(settings: Settings) -> None:
    measured(settings, *THREE)
    found = measured_offers(settings, MeasuredCost.MEMORY, task="sums")
    standing = {row.model: row for row in found.offers}
    assert [row.model for row in found.offers if row.on_frontier] == ["acme/small", "acme/large"]
    assert standing["acme/waste"].probability < 0.1
    assert standing["acme/small"].probability == 1.0  # nothing is cheaper


def test_pareto_time_is_the_inverse_of_speed(settings: Settings) -> None:
    measured(settings, *THREE)
    found = measured_offers(settings, MeasuredCost.TIME, task="sums")
    assert [row.model for row in found.offers] == ["acme/small", "acme/waste", "acme/large"]
    assert found.offers[0].cost == pytest.approx(1 / 90)


def test_pareto_without_a_task_runs_that_can_be_placed_stand_on_the_index(settings: Settings) -> None:
    measured(
        settings,
        ("acme/small", GPQA, 0.40, 2_000_000_000, 90.0),
        ("acme/large", GPQA, 0.80, 9_000_000_000, 30.0),
    )
    found = measured_offers(settings, MeasuredCost.MEMORY)
    small, large = found.offers
    assert found.axis == "index"
    assert small.value + 10 < large.value  # index points
    assert small.ci_low is not None
    assert small.ci_low < small.value


def test_pareto_runs_of_different_devices_carry_a_warning(settings: Settings) -> None:
    measured(settings, *THREE, device=("cpu", "NVIDIA H100", "cpu"))
    found = measured_offers(settings, MeasuredCost.TIME, task="sums")
    assert found.notes == (
        "measured on different devices, so costs are not comparable: NVIDIA H100, cpu",
        "on the frontier: among the models measured on the same device",
    )
    of_memory = measured_offers(settings, MeasuredCost.MEMORY, task="sums")
    assert [note.partition(":")[0] for note in of_memory.notes] == [found.notes[0].partition(":")[0]]


def test_pareto_one_model_is_no_frontier(settings: Settings) -> None:
    measured(settings, THREE[0])
    with pytest.raises(TrackerError, match="needs two models with a score on `sums`"):
        measured_offers(settings, MeasuredCost.MEMORY, task="sums")
    with pytest.raises(TrackerError, match="a placement on the index") as error:
        measured_offers(settings, MeasuredCost.MEMORY)
    assert error.value.hint == "--task sums"
    with pytest.raises(UnknownNameError, match="nope"):
        measured_offers(settings, MeasuredCost.MEMORY, task="nope")


@pytest.mark.parametrize(
    "arguments",
    [("--cost", "time", "--vintage", "2026-08-11"), ("--cost", "price", "--task", "sums")],
)
def test_pareto_options_that_do_not_go_together_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["frontier", "pareto", *arguments])
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_pareto_the_share_of_a_card_that_vllm_reserved_is_no_cost(settings: Settings) -> None:
    card = EngineInfo("vllm", "0.32.0", "bfloat16", "NVIDIA H100 80GB HBM3", 2048)
    rows = {"old": (70e9, None), "used": (4e9, "used"), "guessed": (5e9, "predicted")}
    with Store.open(settings) as store:
        for number, (name, (memory, basis)) in enumerate(rows.items(), start=1):
            of = model(f"acme/{name}")
            one = replace(score("sums", of), value=0.4, stderr=0.02)
            cost = Cost(duration_s=1.0, tokens_per_s=9.0, peak_memory_bytes=int(memory), memory_basis=basis)
            store.add_run(run(number, of=of, scores=(one,), cost=cost, engine=card))
    publish(settings)
    found = measured_offers(settings, MeasuredCost.MEMORY, task="sums")
    assert [(row.model, row.cost) for row in found.offers] == [("acme/used", 4e9), ("acme/guessed", 5e9)]
    assert found.notes[1].endswith("vLLM reserved is known: acme/old")
    by_time = measured_offers(settings, MeasuredCost.TIME, task="sums")
    assert (len(by_time.offers), len(by_time.notes)) == (3, 1)
