"""The last line of a study: whether its final change still gains at four times the size.

The width and the number of heads are doubled, in the defaults as in the final change, so that the blocks have
four times the parameters (embeddings have twice as many). Everything else stays: the layers, the tokens, the
batch, the learning rates. Both are trained in pairs under seeds that were never used before, and measured on
`test`.

Not covered: a change of the width itself, which is doubled with the rest; more tokens or another text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runners.research.final_test import TESTED
from runners.research.problem import script, space
from runners.research.problem.tiers import Tier
from runners.research.seeds import StudySeeds
from runners.research.training.cache import BaselineError
from runners.research.training.pool import TrainingPool, TrainingRequest
from tracker.records.studies import Change, Pair, Split, TrainingStatus, Transfer
from tracker.stats import t_interval

N_TRANSFER = 3  # pairs
WIDTH = 2  # times the width and the heads
SIZE = WIDTH**2  # times the parameters of a block, and the work of a token
SCALED = ("d_model", "n_head")
HEADROOM = 1.25  # of limits: the sizes and times that an agent may reach grow by a little more than `SIZE`
NOTHING_KEPT = "nothing was kept, so there is nothing to transfer"


class NotScalableError(ValueError):
    """A change, or the tier itself, has no size that could be scaled; the message says why."""


@dataclass(frozen=True, slots=True)
class LargerSize:
    """A tier at the larger size, and the pool that trains there."""

    tier: Tier
    larger: Tier
    pool: TrainingPool


def larger_tier(tier: Tier) -> Tier:
    """The tier at four times the parameters.

    Raises:
        NotScalableError: it is not the small GPT that is trained.
    """
    if tier.script:
        raise NotScalableError(f"the size of the script of task `{tier.name}` is not known")
    defaults = script.numbers(script.shipped(tier))
    choices = {tunable.name: tunable.choices for tunable in space.tunables(tier) if tunable.name in SCALED}
    grown = {name: tuple(int(choice) * WIDTH for choice in of) for name, of in choices.items()}
    longer = SIZE * HEADROOM
    return replace(
        tier,
        name=f"{tier.name}-transfer",
        params={**tier.params, **_grown(defaults)},
        choices={**tier.choices, **grown},
        max_params=int(tier.max_params * longer),
        max_checkpoint_bytes=int(tier.max_checkpoint_bytes * longer),
        limits=replace(
            tier.limits,
            cpu_s=tier.limits.cpu_s * longer,
            wall_s=tier.limits.wall_s * longer,
            file_bytes=int(tier.limits.file_bytes * longer),
        ),
    )


def grown_change(change: Change, size: LargerSize) -> Change:
    """The change at the larger size.

    Raises:
        NotScalableError: an edited script has no readable number for its size.
    """
    try:
        values = space.values(change, size.tier)
        numbers = {name: values[name] for name in SCALED}
    except (SyntaxError, ValueError, KeyError) as error:
        raise NotScalableError(f"the edited script has no readable size ({error})") from error
    grown = _grown(numbers)
    if change.script is None:
        return Change(space.normalised({**change.params, **grown}, size.larger))
    return Change({**change.params, **grown}, change.script)


def transferred(final: Change, size: LargerSize | None, seeds: StudySeeds) -> Transfer:
    """The gain of the final change over the defaults at the larger size, or why there is none.

    Nothing that goes wrong there ends the study, whose own result stands.

    Raises:
        StoppedError: the study is to end before that.
        DiskFullError: no space is left.
    """
    if final == Change():
        return Transfer(detail=NOTHING_KEPT)
    if size is None:
        return Transfer(detail="the size of this task cannot be changed")
    try:
        child = grown_change(final, size)
        wanted = [seeds.transfer(place) for place in range(N_TRANSFER)]
        pairs = size.pool.pairs(
            [TrainingRequest(Change(), seed, TESTED) for seed in wanted],
            [TrainingRequest(child, seed, TESTED) for seed in wanted],
        )
    except (NotScalableError, BaselineError) as error:
        return Transfer(detail=str(error), n_tokens=size.larger.train_tokens)
    known: dict[str, Any] = {
        "n_params": pairs[0].parent.n_params,
        "n_tokens": size.larger.train_tokens,
        "pairs": tuple(pairs),
    }
    if (problem := _problem(pairs)) is not None:
        return Transfer(detail=problem, **known)
    gain = t_interval([pair.gain(Split.TEST) or 0.0 for pair in pairs])
    return Transfer(gain_bpb=gain.value, gain_ci_low=gain.low, gain_ci_high=gain.high, **known)


def _grown(numbers: Mapping[str, float | int]) -> dict[str, int]:
    return {name: int(numbers[name]) * WIDTH for name in SCALED}


def _problem(pairs: Sequence[Pair]) -> str | None:
    """Why there is no gain, or None."""
    for what, trainings in (
        ("the defaults", [pair.parent for pair in pairs]),
        ("the final change", [pair.child for pair in pairs]),
    ):
        for each in trainings:
            if each.status is not TrainingStatus.OK:
                why = each.detail or each.reason or each.status.value
                return f"{what} cannot be trained at that size: {why}"
    return None
