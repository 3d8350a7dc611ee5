"""Where several models are measured at once: cards of their own, or a part of one that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.executors.local import environment
from runners.hardware import GIB, Gpu, Hardware
from tests.runners.harness.test_worker import job
from tracker.bench.seats import ALONE, Seat, find_seats, seats_on
from tracker.bench.workers import AUTO, Where, Workers, worker_count
from tracker.errors import FieldError, TrackerError, UsageError
from tracker.records import EngineSettings
from tracker.settings import Settings

CARDS = tuple(Gpu("A", f"GPU-{n}", 24 * GIB, n * GIB, "9.0") for n in (20, 22, 3, 21))
MACHINE = Hardware("cpu", 4, 64 * GIB, 32 * GIB, CARDS)
NO_CARD = replace(MACHINE, gpus=())
ONE = EngineSettings(engine="vllm")
TWO = EngineSettings(engine="vllm", tensor_parallel_size=2)


@pytest.mark.parametrize(
    ("machine", "engine", "asked", "cards"),
    [
        (MACHINE, ONE, None, [("GPU-22",), ("GPU-21",), ("GPU-20",), ("GPU-3",)]),
        (MACHINE, ONE, 2, [("GPU-22",), ("GPU-21",)]),
        (MACHINE, TWO, AUTO, [("GPU-22", "GPU-21"), ("GPU-20", "GPU-3")]),
    ],
)
def test_seats_are_cards_of_their_own(
    machine: Hardware, engine: EngineSettings, asked: Workers | None, cards: list[tuple[str, ...]]
) -> None:
    found = seats_on(machine, engine, asked)
    assert [seat.cards for seat in found] == cards
    assert {seat.n_beside for seat in found} == {0}
    for seat in found:
        assert seat.hardware is not None
        assert {card.uuid for card in seat.hardware.gpus} == set(seat.cards)
        assert all(card in MACHINE.gpus for card in seat.hardware.gpus)  # whole
        assert seat.hardware.free_ram_bytes == MACHINE.free_ram_bytes // len(found)


@pytest.mark.parametrize(
    ("machine", "engine", "asked"),
    [
        (NO_CARD, ONE, None),
        (NO_CARD, ONE, AUTO),
        (MACHINE, ONE, 1),
        (replace(MACHINE, gpus=CARDS[:1]), ONE, None),
        (replace(MACHINE, gpus=CARDS[:1]), TWO, None),  # left to the fit check
    ],
)
def test_seats_of_one_model_are_all_that_there_is(
    machine: Hardware, engine: EngineSettings, asked: Workers | None
) -> None:
    assert seats_on(machine, engine, asked) == (ALONE,)


def test_seats_that_share_a_card_get_parts_of_it_and_no_speed_is_recorded(
    settings: Settings, model_folder: Path
) -> None:
    found = seats_on(replace(MACHINE, gpus=CARDS[:2]), ONE, 3)
    assert [(seat.cards, seat.n_beside) for seat in found] == [
        (("GPU-22",), 1),
        (("GPU-20",), 0),
        (("GPU-22",), 1),
    ]
    parts = [card for seat in found if seat.hardware for card in seat.hardware.gpus]
    assert [(card.total_bytes // GIB, card.free_bytes // GIB) for card in parts] == [
        (12, 11),
        (24, 20),
        (12, 11),
    ]
    made = job(settings, model_folder)
    shared, own = found[0].seated(made), found[1].seated(made)
    assert (shared.cards, shared.n_beside, shared.settings.gpu_memory_utilization) == (("GPU-22",), 1, 0.45)
    assert shared.warnings == ("1 other model may run on the same card: no speed is recorded",)
    assert own == replace(made, cards=("GPU-20",))
    assert environment(shared, MACHINE)["CUDA_VISIBLE_DEVICES"] == "GPU-22"
    assert environment(own, MACHINE)["CUDA_VISIBLE_DEVICES"] == "GPU-20"


def test_seats_on_a_processor_share_its_cores_and_memory(settings: Settings, model_folder: Path) -> None:
    found = seats_on(NO_CARD, ONE, 2)
    assert [(seat.cards, seat.n_beside) for seat in found] == [((), 1)] * 2
    assert [seat.hardware and seat.hardware.free_ram_bytes for seat in found] == [16 * GIB] * 2
    made = found[0].seated(job(settings, model_folder))
    assert made.warnings == ("1 other model may run on the same processor: no speed is recorded",)
    assert environment(made, NO_CARD) == {"OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    ("where", "engine", "says"),
    [
        (Where(at_once=2, data_parallel=2), EngineSettings(engine="transformers"), "cannot be combined with"),
        (Where(at_once=2), EngineSettings(engine="server", base_url="http://127.0.0.1:1/v1"), "on a server"),
    ],
)
def test_seats_are_refused_where_each_model_has_several_workers_or_none_here(
    settings: Settings, where: Where, engine: EngineSettings, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        find_seats(where, engine, settings)
    assert find_seats(replace(where, at_once=None), engine, settings) == (ALONE,)


def test_seats_elsewhere_are_as_many_as_asked_for_or_as_there_is_room(settings: Settings) -> None:
    engine = EngineSettings(engine="transformers")
    far, unknown = f"{__name__}:RoomyExecutor", f"{__name__}:PlainExecutor"
    assert find_seats(Where(far), engine, settings) == (ALONE,)
    assert find_seats(Where(far, at_once=AUTO), engine, settings) == (ALONE,) * 3
    assert find_seats(Where(unknown, at_once=5), engine, settings) == (Seat(),) * 5
    with pytest.raises(TrackerError, match="does not know how many models"):
        find_seats(Where(unknown, at_once=AUTO), engine, settings)


class PlainExecutor:
    """An executor that does not know its room."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class RoomyExecutor(PlainExecutor):
    """An executor with room for three models."""

    def room(self, _engine: EngineSettings) -> int:
        return 3


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5", "9999999"])
def test_seats_are_a_whole_number_or_auto(asked: str) -> None:
    with pytest.raises(FieldError, match="must be `auto` or a whole number from 1"):
        worker_count(asked, field="at_once")
