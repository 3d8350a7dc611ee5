"""When a change is better than its parent: decided on paired differences alone, as cheaply as is honest.

A gain is what the child saves over its parent under one seed, in bits per byte of the `select` split. If the
change does nothing, parent and child can be exchanged, so gains lie symmetrically about 0, however large the
noise is. P(better) is the posterior that the mean gain is above 0 under Student's model with the usual
non-informative prior (Jeffreys): one minus the one-sided p of the paired t-test. It has no scale of its own,
so it is as honest for a spread of 0.001 as for one of 0.08, and it stays so at three pairs, where a bootstrap
does not: three gains above 0, one time in eight by chance, are P = 1 to it.

The rule as a whole, by simulation (`benchmarks/research_gate.py`): 1.4% false accepts under normal noise,
less under heavier tails, 1.6% under the worst symmetric noise that was found (gains of ± one value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

LOOKS = (3, 6)  # pairs at which P(better) is asked; fewer than three say nothing of the spread
ACCEPT_AT = 0.95
GO_ON_AT = 0.75  # at the first look: below it the second look would accept too rarely to be worth its price
N_CONFIRM = 3  # pairs on fresh seeds, parent and child trained again
CONFIRM_AT = 0.8  # with the looks' own 7% this leaves 1.4%; 0.9 would cost a third of the power for 0.7%
# A difference of rounding alone is no gain: a mathematically neutral edit moved the published run by 0.000365
# (karpathy/autoresearch, exp/H100/mar8); the smallest spread measured on the `cpu` tier is 0.001.
FLOOR_BPB = 1e-4


class Step(StrEnum):
    """The next step of a trial."""

    MORE = "more"
    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on the gains so far; `n_pairs` is how many to have before asking again."""

    step: Step
    n_pairs: int
    p_better: float | None = None  # None before the first look
    reason: str | None = None  # machine-readable, for a rejection


def p_better(gains: Sequence[float]) -> float:
    """The posterior probability that the mean gain is above 0; 0.5 where all are exactly 0.

    Raises:
        ValueError: fewer than two gains, or one that is no number.
    """
    values = np.asarray(gains, dtype=float)
    if values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"at least two finite gains are needed, got {list(gains)}")
    spread = max(float(values.std(ddof=1)), FLOOR_BPB)
    return float(special.stdtr(values.size - 1, float(values.mean()) / spread * math.sqrt(values.size)))


def judge(gains: Sequence[float]) -> Decision:
    """The gate: one pair, and unless it loses two more, and unless they are clear three more."""
    n = len(gains)
    if n == 0:
        return Decision(Step.MORE, 1)
    if gains[0] <= 0.0:  # a tie is not better
        return Decision(Step.REJECT, n, reason="lost_first_pair")
    first, last = LOOKS
    if n < first:
        return Decision(Step.MORE, first)
    probability = p_better(gains[:first] if n < last else gains[:last])
    if probability >= ACCEPT_AT:
        return Decision(Step.ACCEPT, n, probability)
    if n < last and probability >= GO_ON_AT:
        return Decision(Step.MORE, last, probability)
    reason = "not_clear" if probability >= GO_ON_AT else "not_better"
    return Decision(Step.REJECT, n, probability, reason)


def confirm(gains: Sequence[float]) -> Decision:
    """The confirmation on fresh seeds of what the gate accepted: a first pair that wins, then the rest."""
    if len(gains) == 0:
        return Decision(Step.MORE, 1)
    if gains[0] <= 0.0:
        return Decision(Step.REJECT, len(gains), reason="not_confirmed")
    if len(gains) < N_CONFIRM:
        return Decision(Step.MORE, N_CONFIRM)
    probability = p_better(gains[:N_CONFIRM])
    if probability >= CONFIRM_AT:
        return Decision(Step.ACCEPT, len(gains), probability)
    return Decision(Step.REJECT, len(gains), probability, "not_confirmed")
