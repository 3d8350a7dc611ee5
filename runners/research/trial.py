"""One trial: the pairs that the gate asks for, the confirmation on fresh seeds, and the verdict.

A placebo is the incumbent against itself, where the child draws other seeds than its parent: the loudest edit
that does nothing. Under equal seeds the difference would be exactly 0, and would say nothing of the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from runners.research.evaluation.evaluator import pooled_finding
from runners.research.gate import Decision, Step, confirm, judge
from runners.research.seeds import StudySeeds
from runners.research.training.pool import TrainingPool, TrainingRequest
from tracker.records.studies import (
    Change,
    Pair,
    Proposal,
    Split,
    Training,
    TrainingStatus,
    Trial,
    Verdict,
)

PLACEBO = "placebo"
WHY = {  # what the agent is told; `select` and P(better), which rests on it, stay the harness's own
    "lost_first_pair": "not better than its parent under the first seed",
    "not_better": "not better than its parent over {n} seeds",
    "not_clear": "perhaps better than its parent, but not clearly so over {n} seeds",
    "not_confirmed": "looked better, but not under fresh seeds",
    "parent_failed": "could not be compared: its parent failed under the same seed",
}


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """One trial to run: the slot, the proposal and its parent."""

    study_id: str
    study_seeds: StudySeeds
    slot: int
    wave: int
    proposal: Proposal
    parent: Change
    categories: tuple[str, ...] = ()
    kept: tuple[Trial, ...] = ()  # accepted before it, placebos apart

    @property
    def is_placebo(self) -> bool:
        """Whether this is the incumbent against itself."""
        return self.proposal.proposer == PLACEBO

    @property
    def child(self) -> Change:
        """The change to train; an invalid proposal has none."""
        assert self.proposal.change is not None
        return self.proposal.change

    def seeds(self, phase: str, place: int) -> tuple[int, int]:
        """The parent's and the child's: the gate's are the study's own, those of the confirmation fresh."""
        drawn = self.study_seeds
        parent = drawn.gate(place) if phase == "gate" else drawn.confirmation(self.slot, place)
        return parent, drawn.placebo(phase, self.slot, place) if self.is_placebo else parent


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """The result of one phase of a trial: the gate, or the confirmation."""

    pairs: tuple[Pair, ...]
    decision: Decision | None  # None: a training failed
    failed: Pair | None = None


def invalid_trial(spec: TrialSpec, *, at: datetime) -> Trial:
    """The trial of an answer that contained no usable change."""
    problem = spec.proposal.problem
    return _trial(spec, Verdict.INVALID, at, reason="invalid", detail=problem)


def duplicate_trial(spec: TrialSpec, earlier: Trial | None, *, at: datetime) -> Trial:
    """The trial of a change that was tried before, or that is the baseline, with the earlier result."""
    if earlier is None:
        detail = "no change: these are the numbers that the study began with"
        return _trial(spec, Verdict.DUPLICATE, at, reason="no_change", detail=detail)
    detail = f"tried before in slot {earlier.slot}: {earlier.verdict}"
    detail += f" ({earlier.detail})" if earlier.detail else ""
    return _trial(spec, Verdict.DUPLICATE, at, pairs=earlier.pairs, reason="duplicate", detail=detail)


def judged_trial(spec: TrialSpec, pool: TrainingPool) -> Trial:
    """Train the pairs that the gate asks for, and judge them."""
    at = datetime.now(UTC)
    gate = _run_phase(spec, pool, phase="gate", rule=judge)
    if gate.decision is None:
        return _failed(spec, gate, at)
    claimed = _mean_gain(gate.pairs, Split.VAL)
    known: dict[str, Any] = {
        "pairs": gate.pairs,
        "p_better": gate.decision.p_better,
        "claimed_gain_bpb": claimed,
    }
    if gate.decision.step is Step.REJECT:
        return _rejected(spec, at, reason=gate.decision.reason or "", **known)
    last = _run_phase(spec, pool, phase="confirmation", rule=confirm)
    known |= {"confirmation": last.pairs}
    if last.decision is None:
        return _failed(spec, last, at, **known)
    confirmed = _mean_gain(last.pairs, Split.SELECT)
    kept = [_evidence(trial.pairs, trial.confirmation) for trial in spec.kept]
    if (leak := pooled_finding(_evidence(gate.pairs, last.pairs), kept)) is not None:
        return _trial(spec, Verdict.CAUGHT, at, reason=leak.reason, detail=leak.detail, **known)
    if last.decision.step is Step.REJECT:
        return _rejected(spec, at, reason="not_confirmed", **known | {"confirmed_gain_bpb": confirmed})
    detail = f"kept: {_mean_gain(last.pairs, Split.VAL) or 0.0:.4f} bpb better on val under fresh seeds"
    return _trial(spec, Verdict.ACCEPTED, at, confirmed_gain_bpb=confirmed, detail=detail, **known)


def _evidence(*phases: Sequence[Pair]) -> list[Mapping[str, float]]:
    """What was measured of the change's own trainings."""
    return [pair.child.evidence for pairs in phases for pair in pairs]


def shown_trial(trial: Trial) -> Trial:
    """The trial as an agent may know it: without seeds, and without any number of `select`."""
    return replace(
        trial,
        pairs=_shown_pairs(trial.pairs),
        confirmation=_shown_pairs(trial.confirmation),
        p_better=None,
        confirmed_gain_bpb=None,
    )


def _shown_pairs(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Pairs under the numbers of their places; a key is a hash over the seed, so it goes too."""
    return tuple(
        Pair(place, _shown_training(pair.parent, place), _shown_training(pair.child, place))
        for place, pair in enumerate(pairs)
    )


def _shown_training(training: Training, place: int) -> Training:
    bpb = {split: value for split, value in training.bpb.items() if split == Split.VAL}
    return replace(training, key="", seed=place, bpb=bpb)


def _run_phase(
    spec: TrialSpec, pool: TrainingPool, *, phase: str, rule: Callable[[Sequence[float]], Decision]
) -> PhaseResult:
    """Train the pairs that the rule asks for, until it decides or a training fails."""
    pairs: list[Pair] = []
    while True:
        gains = [gain for pair in pairs if (gain := pair.gain(Split.SELECT)) is not None]
        decision = rule(gains)
        if decision.step is not Step.MORE:
            return PhaseResult(tuple(pairs), decision)
        seeds = [spec.seeds(phase, place) for place in range(len(pairs), decision.n_pairs)]
        pairs += pool.pairs(
            [TrainingRequest(spec.parent, parent) for parent, _ in seeds],
            [TrainingRequest(spec.child, child) for _, child in seeds],
        )
        for pair in pairs:
            if pair.gain(Split.SELECT) is None or not _is_ok(pair):
                return PhaseResult(tuple(pairs), None, pair)


def _is_ok(pair: Pair) -> bool:
    return pair.child.status is TrainingStatus.OK and pair.parent.status is TrainingStatus.OK


def _failed(spec: TrialSpec, result: PhaseResult, at: datetime, **known: Any) -> Trial:
    """A training that crashed, diverged, ran out of something or was caught; or the parent's did."""
    assert result.failed is not None
    child = result.failed.child
    if not known:
        known = {"pairs": result.pairs}
    if child.status is TrainingStatus.OK:
        return _rejected(spec, at, reason="parent_failed", **known)
    verdict = Verdict.CAUGHT if child.status is TrainingStatus.CAUGHT else Verdict.FAILED
    reason = child.reason or child.status.value
    return _trial(spec, verdict, at, reason=reason, detail=child.detail or child.status.value, **known)


def _rejected(spec: TrialSpec, at: datetime, *, reason: str, **known: Any) -> Trial:
    detail = WHY[reason].format(n=len(known["pairs"]))
    return _trial(spec, Verdict.REJECTED, at, reason=reason, detail=detail, **known)


def _trial(spec: TrialSpec, verdict: Verdict, at: datetime, **known: Any) -> Trial:
    common: dict[str, Any] = {
        "study_id": spec.study_id,
        "slot": spec.slot,
        "wave": spec.wave,
        "proposal": spec.proposal,
        "parent": spec.parent,
        "categories": spec.categories,
        "is_placebo": spec.is_placebo,
        "verdict": verdict,
        "started_at": at,
        "ended_at": datetime.now(UTC),
    }
    return Trial(**(common | known))


def _mean_gain(pairs: Sequence[Pair], split: str) -> float | None:
    gains = [gain for pair in pairs if (gain := pair.gain(split)) is not None]
    return fmean(gains) if gains else None
