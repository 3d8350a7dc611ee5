"""Whether two trainings under different seeds began alike: seen in the weights that they ended with.

The evaluator asks a script how a training begins, but a script can tell a training from being asked. The
weights cannot lie so easily: trainings that begin at one point stay near each other whatever text they see,
and those that begin at two have nothing in common. All weights of the checkpoint are compared but those that
a script is known to begin with one value, or with a fixed table: they may end alike. What counts is numbers,
of any type, not weights: those of a few small decoys do not outvote the rest, nor do many, since the shipped
script's size is the measure. A script that also shuffles its units by the seed would pass, and so would one
that brings enough decoys along and says that all else begins with one value.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.research.evaluation.cheat_checks import (
    ALIKE_SHARE,
    DRAW_ADVICE,
    LEAST_DRAWN,
    MIN_ALIKE_NUMBERS,
    Finding,
    is_alike,
)
from runners.research.evaluation.checkpoint import read_checkpoint
from runners.research.evaluation.logits_client import WeightStart
from tracker.serialization import write_atomically

SKETCHED = 1 << 16  # numbers of a weight, spread evenly over it
MAX_SKETCHED = 512  # weights, the largest ones
SMALL = "small weights"  # those of fewer numbers than can be compared, one after the other
Sketch = Mapping[str, NDArray[np.float32]]


def likeness_finding(
    checkpoint: Path, folder: Path, *, seed: int, starts: Sequence[WeightStart], n_shipped: int
) -> Finding | None:
    """Keep the sketch of a checkpoint in `folder`, and compare it with those of other seeds there."""
    drawn = {each.name for each in starts if not is_alike(each.cosine, each.n_numbers)}
    n_drawn = sum(each.n_numbers for each in read_checkpoint(checkpoint).weights if each.name in drawn)
    if n_drawn < LEAST_DRAWN * n_shipped:
        detail = f"only {n_drawn:,} numbers of the checkpoint are among those that start differently"
        return Finding("seed", f"{detail} under two seeds: {DRAW_ADVICE}")
    mine = sketch(checkpoint, starts)
    others = [path for path in sorted(folder.glob("*.npz")) if path.stem != str(seed)]
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **mine)
    write_atomically(folder / f"{seed}.npz", packed.getvalue())
    n = sum(len(numbers) for numbers in mine.values())
    for other in others:
        with np.load(other, allow_pickle=False) as kept:
            n_alike = alike_numbers(mine, dict(kept))
        if n_alike and n_alike >= ALIKE_SHARE * min(n, n_shipped):
            detail = f"{n_alike:,} of {n:,} trained numbers end like those of another seed"
            return Finding("seed", f"{detail}, as if both began with the same weights: {DRAW_ADVICE}")
    return None


def sketch(checkpoint: Path, starts: Sequence[WeightStart]) -> dict[str, NDArray[np.float32]]:
    """Name → numbers of each weight that may not end alike under two seeds; empty if it is no checkpoint.

    Those are all but the ones that begin with one value throughout or with the same numbers.
    """
    fixed = {(each.name, each.n_numbers) for each in starts if is_alike(each.cosine, each.n_numbers)}
    known = read_checkpoint(checkpoint)
    found: dict[str, NDArray[np.float32]] = {}
    small: list[NDArray[np.float32]] = []
    try:
        chosen = sorted(
            (each for each in known.weights if (each.name, each.n_numbers) not in fixed),
            key=lambda each: -each.n_numbers,
        )
        for place, read in enumerate(known.all_numbers(chosen, most=SKETCHED)):
            # one infinity in each weight must not take all of it out of the comparison
            numbers = np.where(np.isfinite(read), read, np.float32(0.0))
            if len(numbers) >= MIN_ALIKE_NUMBERS and place < MAX_SKETCHED:
                found[f"w{place}"] = numbers
            else:
                small.append(numbers)
    except ValueError:
        return {}
    if sum(len(numbers) for numbers in small) >= MIN_ALIKE_NUMBERS:
        found[SMALL] = np.concatenate(small)
    return found


def alike_numbers(mine: Sketch, other: Sketch) -> int:
    """How many of my numbers stand in a weight that points the same way as one of its size in the other."""
    n_alike = 0
    for size in {len(numbers) for numbers in mine.values()}:
        a, b = (_directions(some, size) for some in (mine, other))
        if b.size:
            nearest = np.abs(a @ b.T).max(axis=1)
            n_alike += size * sum(is_alike(float(cosine), size) for cosine in nearest)
    return n_alike


def _directions(some: Sketch, size: int) -> NDArray[np.float32]:
    """The weights of `size` numbers, (N, size), each with a mean of 0 and a length of 1."""
    found = np.stack([np.zeros(size), *(each for each in some.values() if len(each) == size)])[1:]
    found = found - found.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
