"""Whether prompts of choices that are computed beside written answers, not after them, make a load shorter.

`python -m benchmarks.choices_in_tail [--json]`: a step reads the weights once (6 ms, 8B) and computes prompts
at 33 tokens a millisecond; the shorter of both hides behind the longer, and each answer in progress adds 0.02
ms. All of that are assumptions, and the best case, in which no overlap is lost. vLLM fills each step with
prompts up to a limit of some thousand tokens; fewer a step would have to be metered by whoever feeds it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.task_stream import MOST_TOKENS, REASONING, SPREAD

STEP_MS, EACH_MS, TOKENS_PER_MS = 6.0, 0.02, 33.0
N_CHOICES, NEW_TOKENS = (
    27_842,
    115,
)  # questions of `anchor-small`, and prompt tokens of each that are not cached
N_GSM8K, GSM8K, GSM8K_SPREAD, GSM8K_MOST = 1_319, 120, 0.5, 256
LIMITS = (8_192, 2_048, 200)  # prompt tokens a step


def minutes(lengths: Sequence[int], *, slots: int, per_step: int | None) -> float:
    """Minutes for these answers and all prompts of choices; `per_step` None: the prompts come last."""
    ends: list[int] = []
    n_begun = step = 0
    ms, left = 0.0, float(N_CHOICES * NEW_TOKENS)
    while n_begun < len(lengths) or ends:
        while n_begun < len(lengths) and len(ends) < slots:
            heapq.heappush(ends, step + lengths[n_begun])
            n_begun += 1
        n_steps, n_prompt = max(1, ends[0] - step), 0.0
        if per_step is not None and left > 0:
            n_steps = min(n_steps, math.ceil(left / per_step))
            n_prompt = min(per_step, left / n_steps)
            left -= n_steps * n_prompt
        ms += n_steps * (max(STEP_MS, n_prompt / TOKENS_PER_MS) + EACH_MS * len(ends))
        step += n_steps
        while ends and ends[0] <= step:
            heapq.heappop(ends)
    return (ms + left / TOKENS_PER_MS) / 60_000


def loads() -> Mapping[str, Sequence[int]]:
    """The lengths of the written answers of each load."""
    dice = np.random.default_rng(0)
    short = _lengths(dice, N_GSM8K, GSM8K, GSM8K_SPREAD, GSM8K_MOST)
    long = [n for n_items, median in REASONING for n in _lengths(dice, n_items, median, SPREAD, MOST_TOKENS)]
    return {"anchor-small": short, "anchor-small and anchor-reasoning": [*long, *short]}


def _lengths(dice: np.random.Generator, n_items: int, median: int, spread: float, most: int) -> list[int]:
    drawn = np.minimum(median * np.exp(spread * dice.standard_normal(n_items)), most)
    return [int(one) for one in drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [
        {
            "load": name,
            "slots": slots,
            "after": minutes(lengths, slots=slots, per_step=None),
            "beside": {limit: minutes(lengths, slots=slots, per_step=limit) for limit in LIMITS},
        }
        for name, lengths in loads().items()
        for slots in (256, 1_024)
    ]
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for row in found:
        print(f"{row['load']}, {row['slots']} slots: {row['after']:.2f} min after the answers")
        for limit, one in row["beside"].items():
            print(
                f"  beside them, {limit:,} tokens a step: {one:.2f} min ({1 - one / row['after']:.1%} less)"
            )


if __name__ == "__main__":
    main()
