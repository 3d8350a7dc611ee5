"""Running studies, in the form in which an agent sees them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from runners.research.agents import Ask
from runners.research.comparability import program_text
from runners.research.problem import script, space
from runners.research.problem.tiers import tier
from tracker.records import EngineSettings, Model
from tracker.records.studies import (
    AgentSpec,
    Change,
    Pair,
    Proposal,
    Study,
    StudyStatus,
    Track,
    Training,
    TrainingStatus,
    Trial,
    Verdict,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PROGRAM = program_text()
TIER = tier("smoke")
BASELINE = {"val": 2.7}


def study(
    kind: str,
    *,
    track: Track = Track.PARAMS,
    model: Model | None = None,
    settings: EngineSettings | None = None,
    seed: int = 0,
) -> Study:
    return Study(
        study_id="study",
        agent=AgentSpec(kind, kind, model, settings),
        tier=TIER.name,
        track=track,
        seed=seed,
        n_trials=20,
        status=StudyStatus.RUNNING,
        started_at=NOW,
        pid=1,
        corpus_hash="corpus",
        script_hash="script",
        program_hash="program",
        harness_version="1",
        program=PROGRAM,
    )


def ask(of: Study, history: Sequence[Trial] = (), *, k: int = 1, incumbent: Change | None = None) -> Ask:
    return Ask(
        study=of,
        tier=TIER,
        space=space.tunables(TIER),
        incumbent=incumbent or Change(),
        incumbent_bpb=BASELINE,
        history=tuple(history),
        slot=len(history),
        n_left=of.n_trials - len(history),
        k=k,
        script=script.shipped(TIER) if of.track is Track.CODE else "",
        baseline_bpb=BASELINE,
    )


def training(bpb: float | None, *, seed: int = 0) -> Training:
    status = TrainingStatus.CRASHED if bpb is None else TrainingStatus.OK
    return Training("key", seed, status, bpb={} if bpb is None else {"val": bpb})


def trial(
    slot: int,
    proposal: Proposal,
    *,
    gain: float | None,
    parent: Change | None = None,
    level: float = 2.7,
    verdict: Verdict = Verdict.REJECTED,
) -> Trial:
    """One trial with one pair: the parent at `level`, the child `gain` below it (None: it failed)."""
    parent = parent or Change()
    pairs: tuple[Pair, ...] = ()
    if proposal.change is None:
        verdict = Verdict.INVALID
    elif gain is None:
        verdict, pairs = Verdict.FAILED, (Pair(0, training(level), training(None)),)
    else:
        pairs = (Pair(0, training(level), training(level - gain)),)
    categories = () if proposal.change is None else space.categories(parent, proposal.change, TIER)
    made = Trial("study", slot, proposal, verdict, NOW, NOW, parent=parent, pairs=pairs)
    return replace(made, categories=categories)


@functools.cache
def past(n: int) -> list[Trial]:
    changes = [Change({"beta1": round(0.5 + i / 100, 2)}) for i in range(n)]
    return [trial(i, Proposal(change, proposer="model"), gain=-0.01 * i) for i, change in enumerate(changes)]
