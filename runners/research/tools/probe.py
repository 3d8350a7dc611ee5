"""Short trainings that an agent may ask for: a small share of the tokens, one seed, `val` alone.

They go through the same sandbox and the same evaluator as a trial, and decide nothing. Their seed is none of
the gate's, and the same for all of a study, so that two of them can be compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

from runners.research.problem.tiers import Tier
from runners.research.tools.workspace import ProbeRun
from runners.research.trainer import Trainer
from tracker.records.studies import Change, Split, Study, Training, TrainingStatus

MAX_SHARE = 0.1  # of a training's tokens, in one probe
DEFAULT_SHARE = 0.1
# Trainings' worth of probe tokens for each trial: five probes of the largest share, each with the incumbent.
# A trial is 6 trainings in the mean (docs/auto-research.md): probes add at most a sixth to what is trained.
BUDGET_PER_TRIAL = 1.0
SEED_BITS = 31


class Prober(Protocol):
    """Trains a draft and the incumbent for a short while."""

    def __call__(self, draft: Change, incumbent: Change, share: float) -> ProbeResult:
        """The two trainings; what the draft did wrong is in their status."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A draft and the incumbent after a short training under one seed."""

    draft: Training
    incumbent: Training
    n_tokens: int  # of each

    def as_run(self, *, n_past: int, share: float, n_tokens: int, member: str = "") -> ProbeRun:
        """The record that is kept."""
        return ProbeRun(
            n_past=n_past,
            share=share,
            n_tokens=n_tokens,
            status=self.draft.status.value,
            draft_bpb=self.draft.bpb.get(Split.VAL),
            incumbent_bpb=self.incumbent.bpb.get(Split.VAL),
            detail=None if self.draft.status is TrainingStatus.OK else self.draft.detail,
            train_s=round(self.draft.train_s + self.incumbent.train_s, 3),
            member=member,
        )


def probe_tokens(tier: Tier, share: float) -> int:
    """Training tokens of a probe: whole sequences."""
    return max(1, int(tier.train_tokens * share) // tier.context) * tier.context


def token_budget(tier: Tier, n_trials: int) -> int:
    """Training tokens that all probes of a study may use."""
    return int(BUDGET_PER_TRIAL * tier.train_tokens * n_trials)


def probe_seed(study: Study) -> int:
    """The seed of the study's probes, which no other training of any study has but by chance."""
    digest = hashlib.sha256(f"probe/{study.study_id}".encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - SEED_BITS)


def study_prober(study: Study, tier: Tier, trainer: Trainer) -> Prober:
    """The prober of a study: real trainings where it trains, from a cache if they are known."""
    seed = probe_seed(study)

    def probe(draft: Change, incumbent: Change, share: float) -> ProbeResult:
        n_tokens = probe_tokens(tier, share)
        short = replace(tier, train_tokens=n_tokens)
        trained = [trainer.train(each, seed, short, splits=(Split.VAL,)) for each in (draft, incumbent)]
        return ProbeResult(trained[0], trained[1], n_tokens)

    return probe
