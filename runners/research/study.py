"""The loop of a study: ask, train, judge, keep improvements; at the end, measure once on `test`.

Its whole state is in the study's folder and determines what comes next: killed at any moment, it resumes as
if nothing had happened and loses only the training in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean

from runners.research.agents import Agent, Ask
from runners.research.events import StudyEvent
from runners.research.final_test import baseline_trainings, final_pick, finished, first_pair_val
from runners.research.gate import LOOKS
from runners.research.problem.tiers import Tier
from runners.research.problem.tunables import Tunable
from runners.research.seeds import StudySeeds, next_slots
from runners.research.training.pool import TrainingPool, TrainingRequest
from runners.research.transfer import LargerSize, transferred
from runners.research.trial import (
    PLACEBO,
    TrialSpec,
    duplicate_trial,
    invalid_trial,
    judged_trial,
    shown_trial,
)
from tracker.files.studies import Ledger, Wave
from tracker.records.studies import (
    Change,
    Proposal,
    Split,
    Study,
    StudyStatus,
    Track,
    Trial,
    Verdict,
)

NO_GAIN = "no change was confirmed under fresh seeds: the gain is 0"
NOTHING = "the agent returned no proposal"


@dataclass(frozen=True, slots=True)
class StudyContext:
    """Everything that a study works with."""

    tier: Tier
    space: Sequence[Tunable]
    agent: Agent
    seeds: StudySeeds
    pool: TrainingPool
    identity: Callable[[Change], str]  # equal for changes that train the same
    categories: Callable[[Change, Change], tuple[str, ...]]  # of `CATEGORIES`, from parent to child
    shipped_script: str
    say: Callable[[StudyEvent], None]
    size: LargerSize | None = None  # for the final change alone; None: the tier has no larger one


def run_study(ledger: Ledger, context: StudyContext) -> Study:
    """Run the study to its end; returns it with its result.

    Raises:
        StoppedError: it was asked to stop; nothing that was finished is lost.
        UnreachableError: the agent's model is out of reach.
        TrackerError: something else of ours is missing, such as room on the disk.
    """
    study = ledger.read_study()
    loop = _StudyLoop(study, ledger, context)
    loop.train_baseline()
    while (wave := loop.next_wave()) is not None:
        loop.work_off(wave)
    context.say(StudyEvent("test", n_done=study.n_trials, n_total=study.n_trials))
    final = final_pick(context.pool, loop.incumbent, context.seeds)
    result = finished(study, ledger.trials(), context.pool, final=final, seeds=context.seeds)
    if study.has_transfer:
        context.say(StudyEvent("transfer", n_done=study.n_trials, n_total=study.n_trials))
        result = replace(result, transfer=transferred(final, context.size, context.seeds))
    done = replace(
        ledger.read_study(),
        status=StudyStatus.COMPLETE,
        ended_at=datetime.now(UTC),
        result=result,
        reason=None,
        detail=None if result.gain_bpb else NO_GAIN,
        secret=context.seeds.secret.value,  # nothing is derived from it any more
    )
    ledger.write_study(done)
    return done


def incumbent_after(trials: Sequence[Trial]) -> Change:
    """The best after these trials: of those that the last wave with any accepted, the one with most gain."""
    kept: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.verdict is Verdict.ACCEPTED and not trial.is_placebo:
            kept.setdefault(trial.wave, []).append(trial)
    if not kept:
        return Change()
    best = max(kept[max(kept)], key=lambda trial: (_merit(trial), -trial.slot))
    assert best.proposal.change is not None
    return best.proposal.change


def _merit(trial: Trial) -> float:
    """Mean gain over the first look, whose seeds all trials share, and the confirmation."""
    pairs = (*trial.pairs[: LOOKS[0]], *trial.confirmation)
    return fmean(pair.gain(Split.SELECT) or 0.0 for pair in pairs)


class _StudyLoop:
    """A study at work; everything it remembers was read from, or written to, its folder."""

    def __init__(self, study: Study, ledger: Ledger, context: StudyContext) -> None:
        self.study = study
        self._ledger = ledger
        self._context = context
        self._trials = {trial.slot: trial for trial in ledger.trials()}
        self._lock = threading.Lock()
        self._n_waves, self._start = 0, 0  # waves seen, and the slot after them
        # where each change was tried first; -1: what the study begins with
        self._first: dict[str, int] = {context.identity(Change()): -1}
        self._placebos = context.seeds.placebo_slots(n_trials=study.n_trials, share=study.placebo_share)

    @property
    def incumbent(self) -> Change:
        """The best that was accepted in the waves that are done."""
        return incumbent_after([self._trials[slot] for slot in sorted(self._trials)])

    @property
    def n_done(self) -> int:
        """Trials of the agent that have a verdict."""
        return sum(not trial.is_placebo for trial in self._trials.values())

    def train_baseline(self) -> None:
        """Train what the first trial is compared with, before anybody is asked."""
        first = baseline_trainings(self.study, self._context.pool, self._context.seeds)[0]
        self._context.say(StudyEvent("baseline", val_bpb=first.bpb[Split.VAL]))

    def next_wave(self) -> Wave | None:
        """The first wave that is not done, with what the agent proposes for it; None when all are.

        What was answered is on disk before this returns.
        """
        while self._start < self.study.n_trials + len(self._placebos):
            number = self._n_waves
            wave = self._ledger.wave(number)
            if wave is None:
                wave = self._asked(number, self._start)
                self._ledger.write_wave(wave)
            self._n_waves, self._start = number + 1, max(wave.slots) + 1
            self._note(wave)
            if any(slot not in self._trials for slot in wave.slots):
                return wave
        return None

    def work_off(self, wave: Wave) -> None:
        """Give each proposal of the wave its verdict, all against the incumbent before the wave."""
        before = [self._trials[slot] for slot in sorted(self._trials) if self._trials[slot].wave < wave.wave]
        parent = incumbent_after(before)
        open_specs = [
            self._spec(wave.wave, slot, proposal, parent)
            for slot, proposal in zip(wave.slots, wave.proposals, strict=True)
            if slot not in self._trials
        ]
        first: list[TrialSpec] = []
        again: list[TrialSpec] = []
        for spec in open_specs:
            (first if self._tried_first(spec) == spec.slot else again).append(spec)
        with ThreadPoolExecutor(max_workers=max(1, len(first)), thread_name_prefix="trial") as threads:
            list(threads.map(self._judge, first))
        for spec in again:
            earlier = self._trials.get(self._tried_first(spec))
            self._keep(duplicate_trial(spec, earlier, at=datetime.now(UTC)))
        self._ledger.write_study(replace(self._ledger.read_study(), incumbent=self.incumbent))

    def _asked(self, number: int, start: int) -> Wave:
        study, context = self.study, self._context
        n_slots = study.n_trials + len(self._placebos)
        asked, hidden = next_slots(start, k=study.wave_size, n_slots=n_slots, placebos=self._placebos)
        found: dict[int, Proposal] = {}
        if asked:
            ask = self._ask(asked)
            context.say(StudyEvent("asking", slot=asked[0], n_done=self.n_done, n_total=study.n_trials))
            proposals = list(context.agent.propose(ask))[: len(asked)]
            proposals = proposals or [Proposal(None, proposer=study.agent.kind, problem=NOTHING)]
            found = dict(zip(asked, proposals, strict=False))
        last = max(found) if len(found) < len(asked) else n_slots
        placebo = Proposal(self.incumbent, proposer=PLACEBO)
        found |= {slot: placebo for slot in hidden if slot < last}
        slots = tuple(sorted(found))
        return Wave(number, slots, tuple(found[slot] for slot in slots))

    def _ask(self, asked: Sequence[int]) -> Ask:
        study, context = self.study, self._context
        history = tuple(
            shown_trial(self._trials[slot])
            for slot in sorted(self._trials)
            if not self._trials[slot].is_placebo
        )
        incumbent = self.incumbent
        script = incumbent.script or context.shipped_script
        return Ask(
            study=study,
            tier=context.tier,
            space=context.space,
            incumbent=incumbent,
            incumbent_bpb=self._bpb(incumbent),
            history=history,
            slot=asked[0],
            n_left=study.n_trials - self.n_done,
            k=len(asked),
            script=script if study.track is Track.CODE else "",
            baseline_bpb=self._bpb(Change()),
        )

    def _bpb(self, change: Change) -> Mapping[str, float]:
        """Of the change under the gate's first seed: known, for it has been compared."""
        (training,) = self._context.pool.trained([TrainingRequest(change, self._context.seeds.gate(0))])
        return {Split.VAL: training.bpb[Split.VAL]}

    def _spec(self, wave: int, slot: int, proposal: Proposal, parent: Change) -> TrialSpec:
        touched: tuple[str, ...] = ()
        if proposal.change is not None and proposal.proposer != PLACEBO:
            touched = self._context.categories(parent, proposal.change)
        seeds = self._context.seeds
        kept = tuple(
            trial
            for _, trial in sorted(self._trials.items())
            if trial.verdict is Verdict.ACCEPTED and not trial.is_placebo and trial.wave < wave
        )
        return TrialSpec(self.study.study_id, seeds, slot, wave, proposal, parent, touched, kept)

    def _note(self, wave: Wave) -> None:
        """Remember which of the wave's changes are new."""
        for slot, proposal in zip(wave.slots, wave.proposals, strict=True):
            if proposal.change is not None and proposal.proposer != PLACEBO:
                self._first.setdefault(self._context.identity(proposal.change), slot)

    def _tried_first(self, spec: TrialSpec) -> int:
        """The slot in which this change was tried first: its own, if it is new, or cannot be a repetition."""
        if spec.is_placebo or spec.proposal.change is None:
            return spec.slot
        return self._first[self._context.identity(spec.child)]

    def _judge(self, spec: TrialSpec) -> None:
        if spec.proposal.change is None:
            self._keep(invalid_trial(spec, at=datetime.now(UTC)))
        else:
            self._keep(judged_trial(spec, self._context.pool))

    def _keep(self, trial: Trial) -> None:
        """Write the trial, then tell of it."""
        self._ledger.write_trial(trial)
        with self._lock:  # the trials of a wave end side by side
            self._trials[trial.slot] = trial
            n_done = self.n_done
        self._context.say(
            StudyEvent(
                "trial",
                slot=trial.slot,
                n_done=n_done,
                n_total=self.study.n_trials,
                verdict=trial.verdict.value,
                is_placebo=trial.is_placebo,
                val_bpb=first_pair_val(trial),
                message=trial.detail or "",
            )
        )
