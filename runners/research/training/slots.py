"""Where trainings run at the same time: two places on a CPU, or one on each card.

The places are shared by all studies of a home. Cards of another kind than most are left out: parent and child
are compared, and cards of two kinds add up numbers in different orders. An agent's own server may hold a
card: one of which less than half is free is passed over while another has more.

Not covered: one training on several cards, and several machines.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from runners.hardware import Gpu, describe_hardware, visible_cards

N_ON_CPU = 2
WAIT_S = 0.2
LEAST_FREE = 0.5  # of a card: a server takes more, another program of a desktop less
AGENTS_CODE = "agents-code"  # the name of the lock that every program of an agent holds
ANY_CARD = "card"  # the name of the only place where no card is known


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one training: the name of its lock, and the environment in which it sees its card."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    free_bytes: int = 0  # of its card
    has_room: bool = True  # whether most of its card is free


def slots_on(device: str, cards: Sequence[Gpu]) -> tuple[Slot, ...]:
    """The places for trainings on this device, the card with most free memory first."""
    if device == "cpu":
        return tuple(Slot(str(place)) for place in range(N_ON_CPU))
    named = [card for card in cards if card.uuid]
    if not named:
        return (Slot(ANY_CARD),)  # the sandbox finds the card, or says that there is none
    kinds: dict[tuple[str, int], list[Gpu]] = {}
    for card in named:
        kinds.setdefault((card.name, card.total_bytes), []).append(card)
    alike = max(kinds.values(), key=len)  # the first of several
    found = [
        Slot(
            name=card.uuid,
            environment=visible_cards([card]),
            free_bytes=card.free_bytes,
            has_room=card.free_bytes >= LEAST_FREE * card.total_bytes,
        )
        for card in alike
    ]
    return tuple(sorted(found, key=lambda slot: -slot.free_bytes))


def slots_here(device: str) -> tuple[Slot, ...]:
    """The places on this machine, with the memory that is free now."""
    return slots_on(device, () if device == "cpu" else describe_hardware().gpus)


@contextlib.contextmanager
def held_slot(folder: Path, find: Callable[[], Sequence[Slot]], *, alone: bool) -> Iterator[Slot]:
    """Hold one of the places that `find` finds, or all of them; waits until they are free.

    What an agent wrote is alone: two such programs could tell each other what the evaluator asks, by the
    locks of files that both see. All wait in the same order, so nobody waits for ever.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        if alone:
            names = [AGENTS_CODE, *sorted(slot.name for slot in find())]
            for lock in (_lock(folder, name) for name in names):
                while not _taken(lock):
                    time.sleep(WAIT_S)
                held.callback(lock.release)
            yield max(find(), key=lambda slot: slot.free_bytes)
            return
        while (chosen := _free_slot(folder, find())) is None:
            time.sleep(WAIT_S)
        slot, lock = chosen
        held.callback(lock.release)
        yield slot


def _free_slot(folder: Path, slots: Sequence[Slot]) -> tuple[Slot, FileLock] | None:
    """A place that nobody holds, with its lock: the first with room, else one without if no other is held."""
    free = []
    for slot in slots:
        lock = _lock(folder, slot.name)
        if _taken(lock):
            free.append((slot, lock))
    roomy = [each for each in free if each[0].has_room]
    chosen = next(iter(roomy or (free if len(free) == len(slots) else [])), None)
    for each in free:
        if each is not chosen:
            each[1].release()
    return chosen


def _lock(folder: Path, name: str) -> FileLock:
    return FileLock(folder / f".slot-{name}.lock")


def _taken(lock: FileLock) -> bool:
    """Whether we have the lock now."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
