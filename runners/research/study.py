"""The loop: ask, train, judge, keep what is better; at the end measure once on `test` what was kept.

All that it knows lies in the study's folder, and what it does next follows from that: killed at any moment it
goes on as it would have, and loses the training under way.
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
from runners.research.finish import baseline_trainings, finished, first_pair_val
from runners.research.gate import LOOKS
from runners.research.judging import PLACEBO, Slot, duplicate_trial, invalid_trial, judged_trial
from runners.research.slots import next_slots, placebo_slots, seed_of
from runners.research.space import Tunable
from runners.research.tiers import Tier
from runners.research.workbench import Order, Workbench
from tracker.studies import Change, Proposal, Split, Study, StudyStatus, Track, Trial, Verdict
from tracker.study_files import Ledger, Wave

NO_GAIN = "nothing was kept that holds under fresh seeds: the gain is 0"
NOTHING = "the agent answered with nothing"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a study works with."""

    tier: Tier
    space: Sequence[Tunable]
    agent: Agent
    bench: Workbench
    identity: Callable[[Change], str]  # equal for changes that train the same
    categories: Callable[[Change, Change], tuple[str, ...]]  # of `CATEGORIES`, from parent to child
    shipped_script: str
    say: Callable[[StudyEvent], None]


def run_study(ledger: Ledger, parts: Parts) -> Study:
    """The study with its result, after all that was missing has been done.

    Raises:
        StoppedError: it is to end now; nothing that was finished is lost.
        UnreachableError: the agent's model is out of reach.
        TrackerError: something else of ours is missing, such as room on the disk.
    """
    study = ledger.read_study()
    loop = _Loop(study, ledger, parts)
    loop.train_baseline()
    while (wave := loop.next_wave()) is not None:
        loop.work_off(wave)
    parts.say(StudyEvent("test", n_done=study.n_trials, n_total=study.n_trials))
    result = finished(study, ledger.trials(), parts.bench, incumbent=loop.incumbent)
    done = replace(
        ledger.read_study(),
        status=StudyStatus.COMPLETE,
        ended_at=datetime.now(UTC),
        result=result,
        reason=None,
        detail=None if result.gain_bpb else NO_GAIN,
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


class _Loop:
    """A study at work; everything it remembers was read from, or written to, its folder."""

    def __init__(self, study: Study, ledger: Ledger, parts: Parts) -> None:
        self.study = study
        self._ledger = ledger
        self._parts = parts
        self._trials = {trial.slot: trial for trial in ledger.trials()}
        self._lock = threading.Lock()
        self._n_waves, self._start = 0, 0  # waves seen, and the slot after them
        # where each change was tried first; -1: what the study begins with
        self._first: dict[str, int] = {parts.identity(Change()): -1}
        self._placebos = placebo_slots(n_trials=study.n_trials, share=study.placebo_share, seed=study.seed)

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
        first = baseline_trainings(self.study, self._parts.bench)[0]
        self._parts.say(StudyEvent("baseline", val_bpb=first.bpb[Split.VAL]))

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
        open_slots = [
            self._slot(wave.wave, slot, proposal, parent)
            for slot, proposal in zip(wave.slots, wave.proposals, strict=True)
            if slot not in self._trials
        ]
        first: list[Slot] = []
        again: list[Slot] = []
        for slot in open_slots:
            (first if self._tried_first(slot) == slot.slot else again).append(slot)
        with ThreadPoolExecutor(max_workers=max(1, len(first)), thread_name_prefix="trial") as pool:
            list(pool.map(self._judge, first))
        for slot in again:
            earlier = self._trials.get(self._tried_first(slot))
            self._keep(duplicate_trial(slot, earlier, at=datetime.now(UTC)))
        self._ledger.write_study(replace(self._ledger.read_study(), incumbent=self.incumbent))

    def _asked(self, number: int, start: int) -> Wave:
        study, parts = self.study, self._parts
        n_slots = study.n_trials + len(self._placebos)
        asked, hidden = next_slots(start, k=study.wave_size, n_slots=n_slots, placebos=self._placebos)
        found: dict[int, Proposal] = {}
        if asked:
            ask = self._ask(asked)
            parts.say(StudyEvent("asking", slot=asked[0], n_done=self.n_done, n_total=study.n_trials))
            proposals = list(parts.agent.propose(ask))[: len(asked)]
            proposals = proposals or [Proposal(None, proposer=study.agent.kind, problem=NOTHING)]
            found = dict(zip(asked, proposals, strict=False))
        last = max(found) if len(found) < len(asked) else n_slots
        placebo = Proposal(self.incumbent, proposer=PLACEBO)
        found |= {slot: placebo for slot in hidden if slot < last}
        slots = tuple(sorted(found))
        return Wave(number, slots, tuple(found[slot] for slot in slots))

    def _ask(self, asked: Sequence[int]) -> Ask:
        study, parts = self.study, self._parts
        history = tuple(
            self._trials[slot] for slot in sorted(self._trials) if not self._trials[slot].is_placebo
        )
        incumbent = self.incumbent
        script = incumbent.script or parts.shipped_script
        return Ask(
            study=study,
            tier=parts.tier,
            space=parts.space,
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
        (training,) = self._parts.bench.trained([Order(change, seed_of(self.study.seed, "gate", 0))])
        return {Split.VAL: training.bpb[Split.VAL]}

    def _slot(self, wave: int, slot: int, proposal: Proposal, parent: Change) -> Slot:
        touched: tuple[str, ...] = ()
        if proposal.change is not None and proposal.proposer != PLACEBO:
            touched = self._parts.categories(parent, proposal.change)
        return Slot(self.study.study_id, self.study.seed, slot, wave, proposal, parent, touched)

    def _note(self, wave: Wave) -> None:
        """Remember which of the wave's changes are new."""
        for slot, proposal in zip(wave.slots, wave.proposals, strict=True):
            if proposal.change is not None and proposal.proposer != PLACEBO:
                self._first.setdefault(self._parts.identity(proposal.change), slot)

    def _tried_first(self, slot: Slot) -> int:
        """The slot in which this change was tried first: its own, if it is new, or cannot be a repetition."""
        if slot.is_placebo or slot.proposal.change is None:
            return slot.slot
        return self._first[self._parts.identity(slot.child)]

    def _judge(self, slot: Slot) -> None:
        if slot.proposal.change is None:
            self._keep(invalid_trial(slot, at=datetime.now(UTC)))
        else:
            self._keep(judged_trial(slot, self._parts.bench))

    def _keep(self, trial: Trial) -> None:
        """Write the trial, then tell of it."""
        self._ledger.write_trial(trial)
        with self._lock:  # the trials of a wave end side by side
            self._trials[trial.slot] = trial
            n_done = self.n_done
        self._parts.say(
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
