"""The slots of the placebos and the seed of each purpose, all derived from the study's secret.

A secret is drawn for each study (`secrets.token_hex`), so nothing that an agent reads tells it under which
seed its change will be trained. A training knows its own seed; the seeds of the confirmation, of the final
test and of the transfer are used once, so knowing one of them comes too late.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection
from dataclasses import dataclass

from tracker.records.studies import StudySecret

SEED_BITS = 31  # what every library takes as a seed


@dataclass(frozen=True, slots=True)
class StudySeeds:
    """The seeds of one study, by purpose; only the gate's are shared by its trials."""

    secret: StudySecret

    def gate(self, place: int) -> int:
        """Of a pair of the gate's looks."""
        return self._derived("gate", place)

    def confirmation(self, slot: int, place: int) -> int:
        """Of a pair of one trial's confirmation."""
        return self._derived("confirmation", slot, place)

    def placebo(self, phase: str, slot: int, place: int) -> int:
        """Of a placebo's child, which differs from its parent's."""
        return self._derived("placebo", phase, slot, place)

    def test(self, place: int) -> int:
        """Of a pair of the final test."""
        return self._derived("test", place)

    def transfer(self, place: int) -> int:
        """Of a pair at the larger size."""
        return self._derived("transfer", place)

    def placebo_slots(self, *, n_trials: int, share: float) -> frozenset[int]:
        """The slots of the placebos, which come on top of the agent's `n_trials`; never the first one."""
        n_placebos = round(n_trials * share)
        slots = range(1, n_trials + n_placebos)
        draw = random.Random(self._derived("placebo slots"))
        return frozenset(draw.sample(slots, min(n_placebos, len(slots))))

    def _derived(self, *what: object) -> int:
        """A seed for one purpose: the same for equal arguments, unrelated for others."""
        text = "/".join(str(each) for each in (self.secret.value, *what))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> (64 - SEED_BITS)


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
