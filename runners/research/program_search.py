"""Search for better instructions: versions of `program.md`, judged by what an agent gains per token.

A version is compared with the best so far in pairs of studies that share task, agent seed and secret, so
that their trainings are the same until the agents differ. The gate is that of a trial; what passes it is
confirmed under fresh seeds, on tasks that were held out if there are any. Placebos are the best version
against itself under other seeds. At the end, the best one is compared with the first under seeds that
nothing else used.

All that is decided follows from files, so that a killed search goes on as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from runners.research.comparability import check_program
from runners.research.gate import Decision, Step, confirm, judge
from tracker.errors import UsageError
from tracker.files.programs import SearchLedger
from tracker.records.programs import (
    JudgedVersion,
    ProgramPair,
    ProgramSearch,
    ProgramVerdict,
    ProgramVersion,
    SearchResult,
    SearchStatus,
    StudyScore,
)
from tracker.records.studies import StudySecret
from tracker.stats import t_interval

SEED_BITS = 31
PLACEBO = "placebo"


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """A study that a comparison needs."""

    key: str  # unique in the search
    tier: str
    program: ProgramVersion
    seed: int  # of the agent
    secret: StudySecret


class StudyRunner(Protocol):
    """Runs the studies of a search."""

    def __call__(self, order: StudyOrder) -> StudyScore:
        """The score of the study, which is run, resumed or read.

        Raises:
            TrackerError: it did not end; the search can be resumed.
        """
        ...


class Proposer(Protocol):
    """Writes new versions."""

    def __call__(self, number: int, best: ProgramVersion, judged: Sequence[JudgedVersion]) -> ProgramVersion:
        """Version `number`, made of the best so far and what became of all before it.

        Raises:
            TrackerError: its model cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class SearchSeeds:
    """Seeds and secrets of the studies, all derived from the secret of the search."""

    secret: StudySecret

    def study_secret(self, *what: object) -> StudySecret:
        """The secret of the studies for one purpose."""
        return StudySecret(self._digest("secret", *what))

    def agent_seed(self, *what: object) -> int:
        """The seed of the agent in them."""
        return int(self._digest("seed", *what)[:16], 16) >> (64 - SEED_BITS)

    def placebo_numbers(self, n_versions: int, n_placebos: int) -> frozenset[int]:
        """Which of the versions after number 0 are placebos."""
        draw = random.Random(self._digest("placebos"))
        return frozenset(draw.sample(range(1, n_versions + n_placebos + 1), n_placebos))

    def _digest(self, *what: object) -> str:
        text = "/".join(str(each) for each in (self.secret.value, *what))
        return hashlib.sha256(text.encode()).hexdigest()


def run_search(
    ledger: SearchLedger,
    *,
    propose: Proposer,
    run: StudyRunner,
    say: Callable[[JudgedVersion], None],
) -> ProgramSearch:
    """Run the search to its end; returns it with its result.

    Raises:
        TrackerError: a study or the proposer did not end; nothing that was finished is lost.
    """
    loop = _SearchLoop(ledger, run)
    search = loop.search
    for number in range(1, search.n_versions + search.n_placebos + 1):
        judged = ledger.verdict(number)
        if judged is None:
            judged = loop.judged(loop.proposed(number, propose))
            ledger.write_verdict(judged)
        loop.add(judged)
        say(judged)
    done = replace(
        search, status=SearchStatus.COMPLETE, ended_at=datetime.now(UTC), result=loop.compared_with_first()
    )
    ledger.write_search(done)
    return done


class _SearchLoop:
    """A search at work."""

    def __init__(self, ledger: SearchLedger, run: StudyRunner) -> None:
        self.search = ledger.read_search()
        self._ledger = ledger
        self._run = run
        self._seeds = SearchSeeds(ledger.read_secret())
        self._placebos = self._seeds.placebo_numbers(self.search.n_versions, self.search.n_placebos)
        first = ledger.version(0)
        assert first is not None, "version 0 is written with the search"
        self._first = self._best = first
        self._judged: list[JudgedVersion] = []

    def add(self, judged: JudgedVersion) -> None:
        """Take note of a verdict; placebos change nothing, since they are the best version itself."""
        self._judged.append(judged)
        if judged.verdict is ProgramVerdict.ACCEPTED and not judged.version.is_placebo:
            self._best = judged.version

    def proposed(self, number: int, propose: Proposer) -> ProgramVersion:
        """Version `number`: as it is on disk, a placebo, or what the proposer writes now."""
        known = self._ledger.version(number)
        if known is not None:
            return known
        if number in self._placebos:
            version = ProgramVersion(number, self._best.text, proposer=PLACEBO, is_placebo=True)
        else:
            own = [judged for judged in self._judged if not judged.version.is_placebo]
            version = _checked(propose(number, self._best, own))
        self._ledger.write_version(version)
        return version

    def judged(self, version: ProgramVersion) -> JudgedVersion:
        """The version with its verdict against the best so far."""
        parent = self._best.version
        if version.problem is not None:
            return JudgedVersion(version, parent, ProgramVerdict.INVALID, reason="unusable")
        if not version.is_placebo and version.text.split() in self._tried():
            return JudgedVersion(version, parent, ProgramVerdict.DUPLICATE, reason="duplicate")
        pairs, decision = self._pairs(version, "gate", judge, (self.search.tier,))
        confirmation: tuple[ProgramPair, ...] = ()
        probability = decision.p_better
        if decision.step is Step.ACCEPT:
            tasks = self.search.held_out or (self.search.tier,)
            confirmation, decision = self._pairs(version, "confirmation", confirm, tasks)
        is_kept = decision.step is Step.ACCEPT
        verdict = ProgramVerdict.ACCEPTED if is_kept else ProgramVerdict.REJECTED
        return JudgedVersion(version, parent, verdict, pairs, confirmation, probability, decision.reason)

    def compared_with_first(self) -> SearchResult:
        """The best version against number 0, under fresh seeds on all tasks in turn; else exactly 0."""
        if self._best.version == self._first.version:
            return SearchResult(0, is_confirmed=False, gain_bpb=0.0, gain_ci_low=0.0, gain_ci_high=0.0)
        tasks = (self.search.tier, *self.search.held_out)
        pairs = tuple(
            self._pair(self._best, self._first, "test", place, tasks[place % len(tasks)])
            for place in range(self.search.n_test)
        )
        gain = t_interval([pair.gain_bpb for pair in pairs])
        return SearchResult(self._best.version, gain.low > 0.0, gain.value, gain.low, gain.high, pairs)

    def _tried(self) -> list[list[str]]:
        texts = [self._first.text, *(judged.version.text for judged in self._judged)]
        return [text.split() for text in texts]

    def _pairs(
        self,
        version: ProgramVersion,
        stage: str,
        decide: Callable[[Sequence[float]], Decision],
        tasks: Sequence[str],
    ) -> tuple[tuple[ProgramPair, ...], Decision]:
        """As many pairs as the decision needs."""
        pairs: list[ProgramPair] = []
        decision = decide([])
        while decision.step is Step.MORE:
            while len(pairs) < decision.n_pairs:
                task = tasks[len(pairs) % len(tasks)]
                pairs.append(self._pair(version, self._best, stage, len(pairs), task))
            decision = decide([pair.gain_bpb for pair in pairs])
        return tuple(pairs), decision

    def _pair(
        self, child: ProgramVersion, parent: ProgramVersion, stage: str, place: int, task: str
    ) -> ProgramPair:
        """Two studies that differ in their program alone; those of a placebo differ in their seeds alone."""
        what = (stage, child.version, place)
        other = (*what, PLACEBO) if child.is_placebo else what
        key = f"{stage}-{child.version:03d}-{place:02d}"
        scores = [
            self._run(
                StudyOrder(
                    f"{key}-{side}",
                    task,
                    program,
                    self._seeds.agent_seed(*seeds),
                    self._seeds.study_secret(*seeds),
                )
            )
            for side, program, seeds in (("parent", parent, what), ("child", child, other))
        ]
        return ProgramPair(task, scores[0], scores[1])


def _checked(version: ProgramVersion) -> ProgramVersion:
    """The version, with its problem if it is no program."""
    if version.problem is not None:
        return version
    try:
        check_program(version.text)
    except UsageError as error:
        return replace(version, problem=str(error))
    return version
