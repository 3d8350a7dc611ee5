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
DEAR = 1.1  # times what the shipped script takes: from there on that is measured again, at the same load
MAX_OVERRUN = 1.1  # of a budget in seconds: what is in the pipe when it is spent may still be used
MAX_EVAL_COST = 3.0  # loading and answering; there is nothing to train on there
MAX_GAIN = 0.4  # share of the shipped script's bits that no change of one training saves
# share of log V that an untrained model loses at least; the frequencies of the symbols alone give 0.82
LEAST_UNTRAINED = 0.75
# nats by which scored text may be easier than control text, where it is not so for the shipped script. Both
# scripts are asked about the same windows: of 70 trainings of honest ones none came to half of that
MAX_BEYOND_CONTROL, BEYOND_DEVIATIONS = 0.08, 2.0
# cosine of the numbers of two beginnings: by chance the deviation is 1 ÷ √n
ALIKE, ALIKE_DEVIATIONS = 0.12, 6.0
MIN_ALIKE_NUMBERS = 256  # fewer are alike by chance: gains and biases
ALIKE_SHARE = 0.5  # of the drawn numbers, or of the shipped script's if these are fewer
LEAST_DRAWN = 0.1  # of the shipped script's numbers, that must depend on the seed
SAME_OUTPUT = 1e-3  # of the spread of the logits
DRAW_ADVICE = "draw the weights at random under the seed that torch has been given"


@dataclass(frozen=True, slots=True)
class Finding:
    """The reason that a training is refused."""

    reason: str  # machine-readable
    detail: str
    is_proof: bool = False  # whether no honest script can cause it


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """Computing of a training: CPU seconds, or wall-clock seconds on a GPU."""

    head_s: float  # before its text was handed out; on a card with importing and compiling
    steps_s: float  # of all that came after
    eval_s: float  # of loading and answering in the trained model's first process, without the import
    bpb: Mapping[str, float]
    prepare_s: float = 0.0  # of that, before its first answer, in CPU seconds


@dataclass(frozen=True, slots=True)
class CostSlack:
    """By how much equal scripts differ, and how long starting may take beside the shipped script's."""

    steps_s: float
    eval_s: float
    head_s: float = 0.0
    head_factor: float = 0.0  # 0: what starting and loading take longer counts as training


# CPU seconds, on a busy machine; a card saves the weights, and an edit may have more to compile
CPU_SLACK = CostSlack(steps_s=0.15, eval_s=1.0)
CARD_SLACK = CostSlack(steps_s=3.0, eval_s=20.0, head_s=60.0, head_factor=2.0)


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """A mean loss in nats per token, with its standard error over windows."""

    nats: float
    stderr: float = 0.0


def cost_finding(
    now: TrainingCost,
    shipped: TrainingCost,
    slack: CostSlack,
    *,
    import_s: float = 0.0,
    budget_s: float = 0.0,
) -> Finding | None:
    """Check computing and gain of an edited script against the shipped one's with the tier's defaults.

    `import_s` is what importing the modules takes here that it needs and the shipped script does not;
    `budget_s` is what each training is given where that is measured in seconds.
    """
    beside_s = seconds_beside(now, shipped, slack)
    steps_s = now.steps_s + beside_s
    where = (
        f"training, {beside_s:.1f} s of it before its text or its first answer" if beside_s else "training"
    )
    if budget_s and steps_s > MAX_OVERRUN * budget_s + slack.steps_s:
        detail = f"{steps_s:.1f} s of compute in {where}, where the budget is {budget_s:g} s: "
        return Finding("too_much_computing", f"{detail}end when no more text is handed out")
    limits = [
        (where, MAX_COST, steps_s, MAX_COST * shipped.steps_s + slack.steps_s),
        ("evaluation", MAX_EVAL_COST, now.eval_s, MAX_EVAL_COST * shipped.eval_s + slack.eval_s),
    ]
    if slack.head_factor:
        most_head_s = slack.head_factor * (shipped.head_s + import_s) + slack.head_s
        limits.insert(0, ("starting", slack.head_factor, now.head_s, most_head_s))
    for what, factor, spent_s, most_s in limits:
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


def seconds_beside(now: TrainingCost, shipped: TrainingCost, slack: CostSlack) -> float:
    """Computing that counts as training, of the script before its text and of the model before it answers."""
    if slack.head_factor:
        return 0.0
    pairs = ((now.head_s, shipped.head_s), (now.prepare_s, shipped.prepare_s))
    return sum(max(0.0, spent_s - usual_s) for spent_s, usual_s in pairs)


def untrained_finding(loss: MeanLoss, *, vocab_size: int) -> Finding | None:
    """Whether a model predicts text before it is trained."""
    least = LEAST_UNTRAINED * math.log(vocab_size)
    if loss.nats >= least or not math.isfinite(loss.nats):
        return None
    detail = f"before training, its loss on the training text is {loss.nats:.3f} nats, where a guess has "
    detail += f"{math.log(vocab_size):.3f}: begin with weights that know nothing of the text"
    return Finding("knows_before_training", detail)


def beyond_finding(
    held_out: MeanLoss, control: MeanLoss, *, shipped_held_out: float, shipped_control: float
) -> Finding | None:
    """Whether the scored text is easier than the control text, compared with the shipped script.

    Both are held out, and control text is scored nowhere. What a model remembers of its training text changes
    neither, so that a script may remember less than the shipped one.
    """
    usual = shipped_held_out - shipped_control
    below = usual - (held_out.nats - control.nats)
    few_windows = BEYOND_DEVIATIONS * math.hypot(held_out.stderr, control.stderr)
    if not below > max(MAX_BEYOND_CONTROL, few_windows):
        return None
    detail = f"the scored text is {below:.2f} nats easier than other held-out text allows"
    return Finding("not_what_was_trained", f"{detail}: what is known of it does not come from the training")


def start_finding(starts: Sequence[WeightStart], *, n_shipped: int) -> Finding | None:
    """Whether the numbers that a training begins with depend on the seed.

    A beginning that is the same under each seed is no cheat, but a gain under one beginning, which may be the
    best of many, is none of the method.
    """
    drawn = [each for each in starts if each.cosine is not None and each.n_numbers >= MIN_ALIKE_NUMBERS]
    alike = [each for each in drawn if is_alike(each.cosine, each.n_numbers)]
    n, n_alike = (sum(each.n_numbers for each in some) for some in (drawn, alike))
    if alike and n_alike >= ALIKE_SHARE * min(n, n_shipped):
        detail = f"{n_alike:,} of {n:,} numbers start alike under two seeds, such as `{alike[0].name[:60]}`"
        return Finding("seed", f"{detail}: {DRAW_ADVICE}")
    if n - n_alike < LEAST_DRAWN * n_shipped:
        detail = f"only {n - n_alike:,} numbers start differently under two seeds"
        return Finding("seed", f"{detail}: {DRAW_ADVICE}")
    return None


def is_alike(cosine: float | None, n_numbers: int) -> bool:
    """Whether two weights point the same way, more than chance explains."""
    return cosine is None or not abs(cosine) <= max(ALIKE, ALIKE_DEVIATIONS / math.sqrt(n_numbers))
