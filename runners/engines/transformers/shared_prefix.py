"""One copy of the keys and values of a beginning that many answers share, instead of a copy in each row.

A step of decoding multiplies the queries of all its rows with the copy at once and merges the result with
that over each row's own tokens by the log-sum-exps of both, which is exact up to rounding. A long beginning,
such as two hundred tools, is then read from memory once per step and not once per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from runners.engines.encoding import SharedInput

States = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values per layer: (heads, tokens, dim)

WORTH_SHARING = 1024  # tokens not copied into rows, below which the second product costs more than it saves
MAX_RATIO = 2  # of the beginnings that neighbours in one group share


@dataclass(eq=False, slots=True)
class SharedPrefix:
    """The first `n_tokens` tokens of every prompt from `start` to before `stop` in the plan."""

    start: int
    stop: int
    n_tokens: int
    n_left: int  # answers that are not complete
    states: States = field(default_factory=list)  # empty until the first of its prompts was read

    @property
    def n_saved(self) -> int:
        """Tokens that need not be copied into the rows of its answers."""
        return self.n_tokens * (self.n_left - 1)


@dataclass(frozen=True, slots=True)
class Attended:
    """A prefix in one step, and the rows whose queries see it."""

    prefix: SharedPrefix
    rows: torch.Tensor  # (r,), int64, on the model's device


def shared_prefixes(
    plan: Sequence[SharedInput], n_answers: Sequence[int], *, min_saved: int
) -> Iterator[SharedPrefix]:
    """The beginnings worth a copy of their own, each over neighbours in `plan`, which do not overlap.

    Args:
        plan: The inputs in the order of their tree, see `plan_inputs`.
        n_answers: Of each of them.
        min_saved: Tokens that need not be copied into rows, from which a beginning is shared.
    """
    start = 0
    while start < len(plan):
        stop, n_tokens = _neighbours(plan, start)
        together = [SharedPrefix(start, stop, n_tokens, sum(n_answers[start:stop]))]
        alone = [
            SharedPrefix(place, place + 1, len(plan[place].ids), n_answers[place])
            for place in range(start, stop)
        ]
        best = max(alone, together, key=lambda prefixes: sum(one.n_saved for one in prefixes))
        yield from (one for one in best if one.n_saved >= min_saved)
        start = stop


def _neighbours(plan: Sequence[SharedInput], start: int) -> tuple[int, int]:
    """Where the inputs end that share about as much with each other as the first two, and how much."""
    if start + 1 == len(plan):
        return start + 1, len(plan[start].ids)
    least = most = plan[start + 1].n_shared
    for place in range(start + 2, len(plan)):
        n_shared = plan[place].n_shared
        if n_shared > MAX_RATIO * least:  # the one before shares more with this one
            return place - 1, least
        if MAX_RATIO * n_shared < most:
            return place, least
        least, most = min(least, n_shared), max(most, n_shared)
    return len(plan), least


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    attended: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    scale: float | None,
) -> torch.Tensor:
    """Attention of one new token per row over the prefixes that it sees and the row's own tokens.

    Args:
        query: (rows, heads, 1, dim).
        key: Own tokens, (rows, key heads, slots, dim).
        value: As `key`.
        mask: (rows, 1, 1, slots), added to the scores of the own tokens.
        attended: Rows that see a prefix (r,), its keys and its values, both (key heads, tokens, dim); each
            row sees one at most.
        scale: Of the scores; None: dim ** -0.5.

    Returns:
        (rows, 1, heads, dim)
    """
    B, H, _, D = query.shape
    n_heads = key.shape[1]
    grouped = query.reshape(B, n_heads, H // n_heads, D) * (D**-0.5 if scale is None else scale)
    own, own_log_sum = _weighted(grouped, key, value, mask)
    for rows, keys, values in attended:
        n = len(rows)
        asking = grouped[rows].transpose(0, 1).reshape(n_heads, -1, D)  # (key heads, rows * groups, dim)
        common, log_sum = _weighted(asking, keys, values)
        common = common.reshape(n_heads, n, -1, D).transpose(0, 1)
        log_sum = log_sum.reshape(n_heads, n, -1, 1).transpose(0, 1)
        share = torch.sigmoid(log_sum - own_log_sum[rows])  # of all weights, that of the prefix
        own[rows] = torch.lerp(own[rows], common, share)
    return own.reshape(B, 1, H, D)


def _weighted(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted values (..., queries, dim) and the log of the sum of the weights (..., queries, 1)."""
    scores = query @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    log_sum = scores.logsumexp(-1, keepdim=True)
    return (scores - log_sum).exp_() @ value, log_sum
