"""Checks of a training from outside, on numbers that our own side measured; each names its finding.

They see what the sandbox allows and the probes of the logits cannot: more computing than was given, knowledge
that did not come from the training, a beginning that does not depend on the seed.

A finding is proof only if no honest script can cause it: then the training is `caught`. All others say that a
limit was passed or that a result is not plausible: the training is refused, in a sentence for the agent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runners.research.evaluation.logits_client import WeightStart

# A change may cost this much of what the shipped script takes with the tier's defaults, whatever numbers it
# declares: nobody can see from outside whether it uses them. On `cpu` a quarter of the batch costs 1.2 times.
MAX_COST = 1.6
# by which equal trainings differ on a busy machine: CPU seconds, and a share of those of starting
SLACK_S, STARTUP_SLACK = 0.5, 0.25
MAX_EVAL_COST = 3.0  # loading and answering; there is nothing to train on there
CARD_SLACK_S = 3.0  # of wall time on a card, once everything is compiled: it saves the weights and ends
MAX_HEAD_COST, HEAD_SLACK_S = (
    2.0,
    60.0,
)  # of starting and compiling on a card: an edit may compile more
MAX_GAIN = 0.4  # share of the shipped script's bits that no change of one training saves
# share of log V that an untrained model loses at least; the frequencies of the symbols alone give 0.82
LEAST_UNTRAINED = 0.75
# nats by which held-out text may be easier than the training's own, where it is not so for the shipped script
MAX_BEYOND_TRAINING, BEYOND_DEVIATIONS = 0.15, 3.0
# cosine of the numbers of two beginnings: by chance the deviation is 1 ÷ √n
ALIKE, ALIKE_DEVIATIONS = 0.12, 6.0
MIN_ALIKE_NUMBERS = 256  # fewer are alike by chance: gains and biases
ALIKE_SHARE = 0.5  # of the drawn numbers, or of the shipped script's if these are fewer
LEAST_DRAWN = 0.1  # of the shipped script's numbers, that must depend on the seed
SAME_OUTPUT = 1e-3  # of the spread of the logits


@dataclass(frozen=True, slots=True)
class Finding:
    """The reason that a training is refused."""

    reason: str  # machine-readable
    detail: str
    is_proof: bool = False  # whether no honest script can cause it


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """Time of a training: CPU seconds, or wall-clock seconds on a GPU."""

    train_s: float  # of the training's process, with the import of torch
    eval_s: float  # of loading and answering in the trained model's first process, without the import
    bpb: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """A mean loss in nats per token, with its standard error over windows."""

    nats: float
    stderr: float = 0.0


def cost_finding(
    now: TrainingCost, shipped: TrainingCost, *, startup_s: float, shipped_startup_s: float, slack_s: float
) -> Finding | None:
    """Check the time and the gain of an edited script against the shipped one's with the tier's defaults.

    `startup_s` is what starting Python and importing the same modules takes here, before any code of the
    script; the shipped script's own is a little less.
    """
    useful_s = max(0.0, shipped.train_s - shipped_startup_s)
    for what, factor, spent_s, most_s in (
        ("training", MAX_COST, now.train_s, (1 + STARTUP_SLACK) * startup_s + MAX_COST * useful_s + slack_s),
        ("evaluation", MAX_EVAL_COST, now.eval_s, MAX_EVAL_COST * shipped.eval_s + 2 * slack_s),
    ):
        if spent_s > most_s:
            detail = (
                f"{spent_s:.1f} s of compute in {what}, where at most {most_s:.1f} s are allowed: "
                f"about {factor:g} times what the shipped script takes"
            )
            return Finding("too_much_computing", detail)
    for split, bpb in now.bpb.items():
        if split in shipped.bpb and bpb < (1 - MAX_GAIN) * shipped.bpb[split]:
            detail = f"it saves more than {100 * MAX_GAIN:.0f}% of the shipped script's bits on {split}"
            return Finding("too_good", detail)
    return None


def head_finding(head_s: float, shipped_head_s: float) -> Finding | None:
    """Check on a card how long starting, compiling and the first twentieth of the sequences took."""
    most_s = MAX_HEAD_COST * shipped_head_s + HEAD_SLACK_S
    if head_s <= most_s:
        return None
    detail = (
        f"{head_s:.0f} s until the first twentieth of the sequences was taken, where at most {most_s:.0f} s"
        " are allowed for starting and compiling"
    )
    return Finding("too_much_computing", detail)


def untrained_finding(loss: MeanLoss, *, vocab_size: int) -> Finding | None:
    """Whether a model predicts text before it is trained."""
    least = LEAST_UNTRAINED * math.log(vocab_size)
    if loss.nats >= least or not math.isfinite(loss.nats):
        return None
    detail = f"before training, its loss on the training text is {loss.nats:.3f} nats, where a guess has "
    detail += f"{math.log(vocab_size):.3f}: begin with weights that know nothing of the text"
    return Finding("knows_before_training", detail)


def beyond_finding(
    held_out: MeanLoss, training: MeanLoss, *, shipped_held_out: float, shipped_training: float
) -> Finding | None:
    """Whether held-out text is easier than what was trained on, compared with the shipped script."""
    usual = shipped_held_out - shipped_training
    below = usual - (held_out.nats - training.nats)
    noise = BEYOND_DEVIATIONS * math.hypot(held_out.stderr, training.stderr)
    if not below > MAX_BEYOND_TRAINING + noise:
        return None
    detail = (
        f"held-out text is {below:.2f} nats easier than the training's own text allows: what is known of it "
    )
    return Finding("not_what_was_trained", f"{detail}does not come from the training")


def start_finding(starts: Sequence[WeightStart], *, n_shipped: int) -> Finding | None:
    """Whether the numbers that a training begins with depend on the seed.

    A beginning that is the same under each seed is no cheat, but a gain under one beginning, which may be the
    best of many, is none of the method.
    """
    drawn = [each for each in starts if each.n_numbers >= MIN_ALIKE_NUMBERS]
    alike = [each for each in drawn if is_alike(each.cosine, each.n_numbers)]
    n, n_alike = (sum(each.n_numbers for each in some) for some in (drawn, alike))
    advice = "draw the weights at random under the seed that torch has been given"
    if alike and n_alike >= ALIKE_SHARE * min(n, n_shipped):
        detail = f"{n_alike:,} of {n:,} numbers start alike under two seeds, such as `{alike[0].name[:60]}`"
        return Finding("seed", f"{detail}: {advice}")
    if n - n_alike < LEAST_DRAWN * n_shipped:
        return Finding("seed", f"only {n - n_alike:,} numbers start differently under two seeds: {advice}")
    return None


def is_alike(cosine: float, n_numbers: int) -> bool:
    """Whether two weights point the same way, more than chance explains."""
    return not abs(cosine) <= max(ALIKE, ALIKE_DEVIATIONS / math.sqrt(n_numbers))
