"""The slots of the placebos and the seed of each purpose, all derived from the study's seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection

SEED_BITS = 31  # what every library takes as a seed


def derive_seed(study_seed: int, *what: object) -> int:
    """A seed for one purpose: the same for equal arguments, unrelated for others."""
    text = "/".join(str(each) for each in (study_seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> (64 - SEED_BITS)


def placebo_slots(*, n_trials: int, share: float, seed: int) -> frozenset[int]:
    """The slots of the placebos, which come on top of the agent's `n_trials`; never the first one."""
    n_placebos = round(n_trials * share)
    slots = range(1, n_trials + n_placebos)
    return frozenset(random.Random(f"{seed}/placebos").sample(slots, min(n_placebos, len(slots))))


def next_slots(
    done: int, *, k: int, n_slots: int, placebos: Collection[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slots of the next wave after the first `done` ones: at most `k` for the agent, and its placebos."""
    asked: list[int] = []
    hidden: list[int] = []
    for slot in range(done, n_slots):
        if slot in placebos:
            hidden.append(slot)
        elif len(asked) == k:
            break
        else:
            asked.append(slot)
    return tuple(asked), tuple(hidden)
