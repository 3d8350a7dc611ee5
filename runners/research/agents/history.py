"""The outcome of each trial so far, in bits per byte on `val`.

Trials are trained under different seeds, and seeds differ by more than most changes do. So a change stands
where its parent stands, less what it saved in the pairs that share a seed, from the baseline on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tracker.records.studies import (
    Change,
    Params,
    Split,
    Trial,
    Verdict,
)

UNMEASURED = (Verdict.INVALID, Verdict.FAILED, Verdict.CAUGHT)
Key = tuple[tuple[tuple[str, object], ...], str | None]


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """A trial with the level that its change reached; `val_bpb` is None where there is no number."""

    trial: Trial
    val_bpb: float | None
    gain_bpb: float | None  # over its parent; None also for a repetition, which was compared with another

    @property
    def params(self) -> Params | None:
        """The numbers that were tried."""
        change = self.trial.proposal.change
        return None if change is None else change.params


def trial_outcomes(history: Sequence[Trial], *, baseline_bpb: float | None) -> tuple[TrialOutcome, ...]:
    """Where each trial stands, in their order; `baseline_bpb` is where the tier's defaults stand."""
    levels: dict[Key, float] = {} if baseline_bpb is None else {change_key(Change()): baseline_bpb}
    found = []
    for trial in history:
        if trial.verdict is Verdict.DUPLICATE and trial.proposal.change is not None:
            found.append(TrialOutcome(trial, levels.get(change_key(trial.proposal.change)), None))
            continue
        gain = _gain(trial)
        if gain is None:
            found.append(TrialOutcome(trial, None, None))
            continue
        parent_bpb = levels.setdefault(
            change_key(trial.parent), fmean(p.parent.bpb[Split.VAL] for p in trial.pairs)
        )
        if trial.proposal.change is not None:
            levels.setdefault(change_key(trial.proposal.change), parent_bpb - gain)
        found.append(TrialOutcome(trial, parent_bpb - gain, gain))
    return tuple(found)


def trailing_repeats(history: Sequence[Trial]) -> Sequence[Trial]:
    """The last trials in a row that repeated an earlier one."""
    n = 0
    while n < len(history) and history[-1 - n].verdict is Verdict.DUPLICATE:
        n += 1
    return history[len(history) - n :]


def change_key(change: Change) -> Key:
    """Equal for changes that train the same."""
    return tuple(sorted(change.params.items())), change.script


def _gain(trial: Trial) -> float | None:
    if trial.verdict in UNMEASURED:
        return None
    gains = [gain for pair in trial.pairs if (gain := pair.gain(Split.VAL)) is not None]
    return fmean(gains) if gains else None
