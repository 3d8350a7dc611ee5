"""Checks that a training looks honest from outside; each names its finding.

They catch what the sandbox allows and the probes of the logits cannot see: more computing than was given, a
checkpoint that was not trained, a beginning that does not depend on the seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runners.research.problem.tiers import Tier

# A change may cost this much of what the shipped script takes with the same numbers on the same machine:
# room for a heavier block, none for a second step on each batch.
MAX_COST = 1.6
MIN_COST = 0.1  # less, and the text cannot have gone through the model and back
SLACK_S = 1.5  # of CPU time: starting up three times varies by so much on a busy machine
MAX_GAIN = 0.4  # share of the shipped script's bits that no change of one training saves
FIRST_LOSS = (0.5, 4.0)  # of log V, at the first step
MAX_BELOW_CURVE = 0.35  # nats by which the held-out loss may lie below the end of the training's own curve
END_SHARE = 0.1  # of the curve that counts as its end
MIN_TOKENS_SHARE = 0.9  # the last batch may not fill up


@dataclass(frozen=True, slots=True)
class Finding:
    """The reason that a training is refused."""

    reason: str  # machine-readable
    detail: str


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """Time of a training: CPU seconds, or wall-clock seconds on a GPU."""

    train_s: float  # of the training's process, with the import of torch
    eval_s: float  # of the evaluator's processes: a model could go on training there
    bpb: Mapping[str, float]


def curve_finding(
    curve: Sequence[tuple[int, float]], *, nats: float, vocab_size: int, tier: Tier
) -> Finding | None:
    """Check the training's own curve against the held-out loss in nats per token."""
    if not curve:
        return Finding("no_curve", "the training left no loss curve")
    tokens, losses = [point[0] for point in curve], [point[1] for point in curve]
    if any(b <= a for a, b in pairwise(tokens)) or tokens[-1] > tier.train_tokens:
        return Finding("curve", "the loss curve does not go from the first token to the last one")
    if tokens[-1] < MIN_TOKENS_SHARE * tier.train_tokens:
        return Finding("too_few_tokens", f"{tokens[-1]} of {tier.train_tokens} tokens were trained on")
    low, high = (share * math.log(vocab_size) for share in FIRST_LOSS)
    if not low <= losses[0] <= high:
        detail = f"the first loss is {losses[0]:.3f} nats, where a guess has {math.log(vocab_size):.3f}"
        return Finding("first_loss", detail)
    end = losses[-max(1, round(len(losses) * END_SHARE)) :]
    ended_at = sum(end) / len(end)
    if nats < ended_at - MAX_BELOW_CURVE:
        detail = "held-out text is predicted far better than the training's own curve allows"
        return Finding("not_what_was_trained", detail)
    return None


def cost_finding(now: TrainingCost, shipped: TrainingCost, *, startup_s: float) -> Finding | None:
    """Check the time and the gain of an edited script against the shipped one's.

    An edited script is evaluated in two processes, the shipped one in one; each takes `startup_s` to start.
    """
    useful_s = max(0.0, shipped.train_s - startup_s)
    for what, spent_s, most_s in (
        ("training", now.train_s, startup_s + MAX_COST * useful_s + SLACK_S),
        ("evaluation", now.eval_s, MAX_COST * 2 * shipped.eval_s + SLACK_S),
    ):
        if spent_s > most_s:
            detail = f"{spent_s:.1f} s of compute in {what}, where at most {most_s:.1f} s are allowed"
            return Finding("too_much_computing", detail)
    least_s = startup_s + MIN_COST * useful_s - SLACK_S
    if now.train_s < least_s:
        detail = f"{now.train_s:.1f} s of compute, where no training takes less than {least_s:.1f} s"
        return Finding("too_little_computing", detail)
    for split, bpb in now.bpb.items():
        if split in shipped.bpb and bpb < (1 - MAX_GAIN) * shipped.bpb[split]:
            detail = f"it saves more than {100 * MAX_GAIN:.0f}% of the shipped script's bits on {split}"
            return Finding("too_good", detail)
    return None


def seed_finding(starts: Sequence[Mapping[str, str]]) -> Finding | None:
    """Whether the weights that a training begins with depend on the seed; `starts` are of different seeds."""
    if len(starts) != 2:
        return Finding("seed", "the model's process did not report its initial weights")
    first, second = starts
    drawn = first.keys() | second.keys()
    equal = [name for name in drawn if first.get(name) == second.get(name)]
    if len(equal) * 2 <= len(drawn):
        return None
    detail = f"{len(equal)} of {len(drawn)} weights start identically under two seeds, such as `{min(equal)}`"
    return Finding("seed", detail)
