"""One trial: the pairs that the gate asks for, the confirmation on fresh seeds, and the verdict in words.

A placebo is the incumbent against itself, where the child draws other seeds than its parent: the loudest edit
that does nothing. Under equal seeds the difference would be exactly 0, and would say nothing of the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from runners.research.gate import Decision, Step, confirm, judge
from runners.research.slots import seed_of
from runners.research.workbench import Order, Workbench
from tracker.studies import Change, Pair, Proposal, Split, TrainingStatus, Trial, Verdict

PLACEBO = "placebo"
WHY = {  # what the agent is told; `select` and P(better), which rests on it, stay the harness's own
    "lost_first_pair": "not better than its parent under the first seed",
    "not_better": "not better than its parent over {n} seeds",
    "not_clear": "perhaps better than its parent, but not clearly so over {n} seeds",
    "not_confirmed": "looked better, but not under fresh seeds",
    "parent_failed": "could not be compared: its parent failed under the same seed",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """What is to be tried where."""

    study_id: str
    study_seed: int
    slot: int
    wave: int
    proposal: Proposal
    parent: Change
    categories: tuple[str, ...] = ()

    @property
    def is_placebo(self) -> bool:
        """Whether this is the incumbent against itself."""
        return self.proposal.proposer == PLACEBO

    @property
    def child(self) -> Change:
        """What is trained; an invalid proposal has none."""
        assert self.proposal.change is not None
        return self.proposal.change

    def seeds(self, phase: str, place: int) -> tuple[int, int]:
        """The parent's and the child's: the gate's are the study's own, those of the confirmation fresh."""
        purpose = ("gate", place) if phase == "gate" else ("confirmation", self.slot, place)
        parent = seed_of(self.study_seed, *purpose)
        if not self.is_placebo:
            return parent, parent
        return parent, seed_of(self.study_seed, PLACEBO, phase, self.slot, place)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one phase came to."""

    pairs: tuple[Pair, ...]
    decision: Decision | None  # None: a training failed
    failed: Pair | None = None


def invalid_trial(slot: Slot, *, at: datetime) -> Trial:
    """The verdict on an answer that no change could be read out of."""
    problem = slot.proposal.problem
    return _trial(slot, Verdict.INVALID, at, reason="invalid", detail=problem)


def duplicate_trial(slot: Slot, earlier: Trial | None, *, at: datetime) -> Trial:
    """The verdict on a change that was tried before, or that is the baseline: the answer of that time."""
    if earlier is None:
        detail = "it changes nothing: these are the numbers that the study began with"
        return _trial(slot, Verdict.DUPLICATE, at, reason="no_change", detail=detail)
    detail = f"tried before in slot {earlier.slot}: {earlier.verdict}"
    detail += f" ({earlier.detail})" if earlier.detail else ""
    return _trial(slot, Verdict.DUPLICATE, at, pairs=earlier.pairs, reason="duplicate", detail=detail)


def judged_trial(slot: Slot, bench: Workbench) -> Trial:
    """Train what the gate asks for, and say what became of it."""
    at = datetime.now(UTC)
    gate = _heard(slot, bench, phase="gate", rule=judge)
    if gate.decision is None:
        return _failed(slot, gate, at)
    claimed = _mean_gain(gate.pairs, Split.VAL)
    known: dict[str, Any] = {
        "pairs": gate.pairs,
        "p_better": gate.decision.p_better,
        "claimed_gain_bpb": claimed,
    }
    if gate.decision.step is Step.REJECT:
        return _rejected(slot, at, reason=gate.decision.reason or "", **known)
    last = _heard(slot, bench, phase="confirmation", rule=confirm)
    known |= {"confirmation": last.pairs}
    if last.decision is None:
        return _failed(slot, last, at, **known)
    confirmed = _mean_gain(last.pairs, Split.SELECT)
    if last.decision.step is Step.REJECT:
        return _rejected(slot, at, reason="not_confirmed", **known | {"confirmed_gain_bpb": confirmed})
    detail = f"kept: {_mean_gain(last.pairs, Split.VAL) or 0.0:.4f} bpb better on val under fresh seeds"
    return _trial(slot, Verdict.ACCEPTED, at, confirmed_gain_bpb=confirmed, detail=detail, **known)


def _heard(slot: Slot, bench: Workbench, *, phase: str, rule: Callable[[Sequence[float]], Decision]) -> Heard:
    """Ask the rule, train the pairs that it wants, until it has decided or a training has failed."""
    pairs: list[Pair] = []
    while True:
        gains = [gain for pair in pairs if (gain := pair.gain(Split.SELECT)) is not None]
        decision = rule(gains)
        if decision.step is not Step.MORE:
            return Heard(tuple(pairs), decision)
        seeds = [slot.seeds(phase, place) for place in range(len(pairs), decision.n_pairs)]
        pairs += bench.pairs(
            [Order(slot.parent, parent) for parent, _ in seeds],
            [Order(slot.child, child) for _, child in seeds],
        )
        for pair in pairs:
            if pair.gain(Split.SELECT) is None or not _is_ok(pair):
                return Heard(tuple(pairs), None, pair)


def _is_ok(pair: Pair) -> bool:
    return pair.child.status is TrainingStatus.OK and pair.parent.status is TrainingStatus.OK


def _failed(slot: Slot, heard: Heard, at: datetime, **known: Any) -> Trial:
    """A training that crashed, diverged, ran out of something or was caught; or the parent's did."""
    assert heard.failed is not None
    child = heard.failed.child
    if not known:
        known = {"pairs": heard.pairs}
    if child.status is TrainingStatus.OK:
        return _rejected(slot, at, reason="parent_failed", **known)
    verdict = Verdict.CAUGHT if child.status is TrainingStatus.CAUGHT else Verdict.FAILED
    reason = child.reason or child.status.value
    return _trial(slot, verdict, at, reason=reason, detail=child.detail or child.status.value, **known)


def _rejected(slot: Slot, at: datetime, *, reason: str, **known: Any) -> Trial:
    detail = WHY[reason].format(n=len(known["pairs"]))
    return _trial(slot, Verdict.REJECTED, at, reason=reason, detail=detail, **known)


def _trial(slot: Slot, verdict: Verdict, at: datetime, **known: Any) -> Trial:
    common: dict[str, Any] = {
        "study_id": slot.study_id,
        "slot": slot.slot,
        "wave": slot.wave,
        "proposal": slot.proposal,
        "parent": slot.parent,
        "categories": slot.categories,
        "is_placebo": slot.is_placebo,
        "verdict": verdict,
        "started_at": at,
        "ended_at": datetime.now(UTC),
    }
    return Trial(**(common | known))


def _mean_gain(pairs: Sequence[Pair], split: str) -> float | None:
    gains = [gain for pair in pairs if (gain := pair.gain(split)) is not None]
    return fmean(gains) if gains else None
