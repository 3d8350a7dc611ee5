"""How many workers share a job, which cards each gets, and what is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.executors.local import LocalExecutor
from runners.hardware import GIB, Gpu, Hardware
from tests.runners.harness.test_worker import job
from tracker.answers.run_lines import by_workers
from tracker.bench.request import BenchRequest
from tracker.bench.workers import (
    AUTO,
    Workers,
    card_groups,
    check_memory,
    count_workers,
    least_hardware,
    worker_count,
)
from tracker.errors import FieldError, TrackerError
from tracker.records import EngineSettings
from tracker.settings import Settings

CARDS = tuple(Gpu("A", f"GPU-{n}", 24 * GIB, n * GIB, "9.0") for n in (20, 22, 3, 21))
MACHINE = Hardware("cpu", 4, 64 * GIB, 32 * GIB, CARDS)
NO_CARD = replace(MACHINE, gpus=())
ONE = EngineSettings(engine="vllm")
TWO = EngineSettings(engine="vllm", tensor_parallel_size=2)


def count(asked: Workers, engine: EngineSettings, machine: Hardware, settings: Settings) -> int:
    place = LocalExecutor(settings)
    return count_workers(asked, engine, machine, has_gpu=machine.has_gpu, place=place, name="local")


@pytest.mark.parametrize(
    ("asked", "engine", "machine", "n_workers"),
    [
        (AUTO, ONE, MACHINE, 4),
        (AUTO, TWO, MACHINE, 2),
        (AUTO, ONE, NO_CARD, 1),
        (3, ONE, MACHINE, 3),
        (2, ONE, NO_CARD, 2),
        (1, TWO, replace(MACHINE, gpus=CARDS[:1]), 1),  # left to the fit check
    ],
)
def test_workers_are_as_many_as_asked_for_or_one_for_each_card(
    settings: Settings, asked: Workers, engine: EngineSettings, machine: Hardware, n_workers: int
) -> None:
    assert count(asked, engine, machine, settings) == n_workers


@pytest.mark.parametrize(
    ("asked", "engine", "machine", "says", "hint"),
    [
        (
            5,
            ONE,
            MACHINE,
            "needs 5 cards, one for each worker; this machine has 4 cards",
            "--data-parallel 4",
        ),
        (3, TWO, MACHINE, "needs 6 cards, 2 for each worker; this machine has 4 cards", "--data-parallel 2"),
        (2, TWO, replace(MACHINE, gpus=CARDS[:2]), "needs 4 cards", "leave out `--data-parallel`"),
        (9, ONE, NO_CARD, "needs 9 cores, one for each worker; there are 4 cores and no card", "4"),
    ],
)
def test_workers_without_a_card_or_core_of_their_own_are_refused(
    settings: Settings, asked: int, engine: EngineSettings, machine: Hardware, says: str, hint: str
) -> None:
    with pytest.raises(TrackerError, match=says) as raised:
        count(asked, engine, machine, settings)
    assert hint in (raised.value.hint or "")


class Elsewhere(LocalExecutor):
    """An executor with room for three workers."""

    def room(self, engine: EngineSettings) -> int:
        return 3 // engine.tensor_parallel_size


def test_workers_elsewhere_are_as_many_as_there_is_room_for(settings: Settings) -> None:
    place, unknown = Elsewhere(settings), LocalExecutor(settings)

    def elsewhere(asked: Workers, executor: LocalExecutor) -> int:
        return count_workers(asked, ONE, NO_CARD, has_gpu=False, place=executor, name="far")

    assert [elsewhere(asked, place) for asked in (AUTO, 2)] == [3, 2]
    assert elsewhere(40, unknown) == 40
    with pytest.raises(TrackerError, match="has room for 3 workers"):
        elsewhere(4, place)
    with pytest.raises(TrackerError, match="does not know how many workers"):
        elsewhere(AUTO, unknown)


def test_workers_get_the_freest_cards_and_the_model_must_fit_on_the_fullest_of_them() -> None:
    assert card_groups(ONE, MACHINE, 3) == (("GPU-22",), ("GPU-21",), ("GPU-20",))
    assert card_groups(TWO, MACHINE, 2) == (("GPU-22", "GPU-21"), ("GPU-20", "GPU-3"))
    assert [card.uuid for card in least_hardware(ONE, MACHINE, 3).gpus] == ["GPU-20"]
    assert card_groups(ONE, NO_CARD, 2) == ((), ())
    assert least_hardware(ONE, NO_CARD, 2).free_ram_bytes == 16 * GIB


def test_workers_on_a_processor_must_fit_into_its_memory_together(
    settings: Settings, model_folder: Path
) -> None:
    made = replace(job(settings, model_folder), fit={"total_bytes": 10 * GIB})
    check_memory(made, NO_CARD, 3)
    with pytest.raises(TrackerError, match=r"4 workers need 40\.0 GiB of main memory, and 32\.0 GiB"):
        check_memory(made, NO_CARD, 4)


@pytest.mark.parametrize("text", ["0", "-1", "2000", "two", "1.5", "", "²"])
def test_workers_that_are_no_number_are_refused(text: str) -> None:
    with pytest.raises(FieldError, match=r"must be `auto` or a whole number from 1 to 1,024"):
        worker_count(text)


def test_workers_cannot_share_a_server_or_a_paired_comparison() -> None:
    server = EngineSettings(engine="server", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(TrackerError, match="the model is on a server"):
        BenchRequest("m", server, data_parallel=2)
    with pytest.raises(TrackerError, match="cannot be combined with `--until-better-than`"):
        BenchRequest("m", ONE, data_parallel="auto", until_better_than="other")


def test_workers_of_a_speed_are_named_where_there_were_several() -> None:
    said = [by_workers(n) for n in (None, 1, 4, 4.0)]
    assert said == ["", "", " by each of 4 workers", " by each of 4 workers"]
