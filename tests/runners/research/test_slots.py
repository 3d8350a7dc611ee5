"""Places for trainings: one per card, shared by everyone, and all of them for what an agent wrote."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from runners.hardware import GIB, Gpu
from runners.research.training.slots import ANY_CARD, N_ON_CPU, Slot, held_slot, slots_on
from runners.sandbox.args import environment

H200 = 141 * GIB


def card(number: int, *, name: str = "H200", total: int = H200, free: float = 1.0) -> Gpu:
    return Gpu(name, f"GPU-{number}", total, int(free * total), "9.0")


@pytest.mark.parametrize(
    ("cards", "names"),
    [
        ([], [ANY_CARD]),
        ([card(0)], ["GPU-0"]),
        ([card(n) for n in range(8)], [f"GPU-{n}" for n in range(8)]),
        ([card(0, free=0.1), card(1), card(2, free=0.6)], ["GPU-1", "GPU-2", "GPU-0"]),
        ([card(0, name="L4", total=24 * GIB), card(1), card(2)], ["GPU-1", "GPU-2"]),
        ([card(0), card(1, name="L4", total=24 * GIB)], ["GPU-0"]),
        ([Gpu("H200", "", H200, H200, "9.0")], [ANY_CARD]),
        ([card(0, name="MIG 3g"), card(1, name="MIG 3g"), card(2, name="MIG 1g")], ["GPU-0", "GPU-1"]),
    ],
    ids=["none", "one", "eight", "by free memory", "most of a kind", "two kinds", "unnamed", "slices"],
)
def test_slots_there_is_one_per_card_of_the_commonest_kind(cards: list[Gpu], names: list[str]) -> None:
    found = slots_on("cuda", cards)
    assert [slot.name for slot in found] == names
    for slot in found:
        seen = environment(slot.environment).get("CUDA_VISIBLE_DEVICES")
        assert seen == (None if slot.name == ANY_CARD else slot.name), "a training sees its card alone"


def test_slots_on_a_cpu_do_not_depend_on_cards() -> None:
    assert slots_on("cpu", [card(n) for n in range(8)]) == slots_on("cpu", [])
    assert len(slots_on("cpu", [])) == N_ON_CPU


def test_slots_trainings_at_once_are_on_different_cards(tmp_path: Path) -> None:
    slots = slots_on("cuda", [card(n) for n in range(4)])
    together = threading.Barrier(4)

    def train(_: int) -> str:
        with held_slot(tmp_path, lambda: slots, alone=False) as slot:
            together.wait(timeout=30)
            return slot.environment["CUDA_VISIBLE_DEVICES"]

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(train, range(4))) == [f"GPU-{n}" for n in range(4)]


def test_slots_what_an_agent_wrote_holds_every_card_and_the_lock_of_such_code(tmp_path: Path) -> None:
    slots = slots_on("cuda", [card(0, free=0.2), card(1)])
    with held_slot(tmp_path, lambda: slots, alone=True) as slot:
        assert slot.name == "GPU-1", "the roomiest"
        assert {name: is_held(tmp_path, name) for name in ("GPU-0", "GPU-1", "agents-code")} == {
            "GPU-0": True, "GPU-1": True, "agents-code": True,
        }  # fmt: skip
    assert not any(is_held(tmp_path, name) for name in ("GPU-0", "GPU-1", "agents-code"))


def test_slots_a_card_that_a_server_holds_is_taken_only_where_there_is_no_other(tmp_path: Path) -> None:
    full, free = card(0, free=0.1), card(1)
    asked: list[int] = []

    def both() -> Sequence[Slot]:
        asked.append(1)
        if len(asked) == 3:
            other.release()
        return slots_on("cuda", [full, free])

    other = FileLock(tmp_path / ".slot-GPU-1.lock")
    other.acquire()
    with held_slot(tmp_path, both, alone=False) as slot:
        assert (slot.name, len(asked)) == ("GPU-1", 3), "it waits for the card with room"
    with held_slot(tmp_path, lambda: slots_on("cuda", [full]), alone=False) as slot:
        assert slot.name == "GPU-0"


def test_slots_a_failure_releases_all(tmp_path: Path) -> None:
    slots = slots_on("cpu", [])
    for alone in (True, False):
        with pytest.raises(RuntimeError), held_slot(tmp_path, lambda: slots, alone=alone):
            raise RuntimeError
    assert not any(is_held(tmp_path, slot.name) for slot in slots)


def is_held(folder: Path, name: str) -> bool:
    lock = FileLock(folder / f".slot-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
