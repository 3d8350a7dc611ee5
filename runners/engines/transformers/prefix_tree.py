"""A walk over the prefix tree of many inputs, in chunks that a model can read in one row.

Every token of the tree is read once. A chunk is a run of tokens in depth-first order; a mask lets each token
attend to its own prefix only, so there is no padding, and the next chunk only needs the path to its first
token from the key-value cache. Pure: numpy arrays in and out, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runners.engines.encoding import Ids, SharedInput, n_common

IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class EndedInput:
    """An input whose last token is in this chunk."""

    place: int  # in the plan
    slots: IntArray  # of each of its tokens in cache + chunk


@dataclass(frozen=True, slots=True)
class Chunk:
    """S tokens to read at once after `n_cached` cached ones."""

    ids: IntArray  # (S,)
    positions: IntArray  # (S,)
    visible: BoolArray  # (S, n_cached + S)
    n_cached: int
    first_node: int  # index of the first token in the walk
    ended: tuple[EndedInput, ...]
    kept: IntArray  # slots that the next chunk needs, in the order of their positions


@dataclass(frozen=True, slots=True)
class _Part:
    start: int  # first position
    ids: Ids
    before: IntArray  # slots of the positions before `start`
    first_slot: int


class TreeWalk:
    """A position in a depth-first walk of the tree; `chunk` looks ahead, `advance` moves on."""

    def __init__(self, plan: Sequence[SharedInput]) -> None:
        """Start before the first input of `plan` (see `plan_inputs`); its shared tokens are in the cache."""
        self.plan = plan
        self._place = 0
        self._position = (
            plan[0].n_shared if plan else 0
        )  # of the next token; also the number of cached tokens
        self._n_read = 0

    @property
    def is_done(self) -> bool:
        """Whether every input was read."""
        return self._place == len(self.plan)

    @property
    def path(self) -> Ids:
        """The tokens whose keys and values are in the cache."""
        place = min(self._place, len(self.plan) - 1)
        return self.plan[place].ids[: self._position]

    def chunk(self, *, max_tokens: int, max_ended: int | None = None) -> Chunk:
        """The next at most `max_tokens` tokens, ending with the `max_ended`-th input that ends."""
        n_cached = self._position
        path = np.arange(n_cached)
        parts: list[_Part] = []
        ended: list[EndedInput] = []
        place, position, n_tokens = self._place, self._position, 0
        while (
            place < len(self.plan) and n_tokens < max_tokens and (max_ended is None or len(ended) < max_ended)
        ):
            ids = self.plan[place].ids
            part = _Part(
                position,
                ids[position : position + max_tokens - n_tokens],
                path[:position],
                n_cached + n_tokens,
            )
            path = np.concatenate([part.before, part.first_slot + np.arange(len(part.ids))])
            n_tokens += len(part.ids)
            position += len(part.ids)
            parts.append(part)
            if position < len(ids):
                break
            ended.append(EndedInput(place, path))
            place += 1
            if place < len(self.plan):
                position = self.plan[place].n_shared
        return Chunk(
            ids=np.concatenate([np.asarray(part.ids) for part in parts]),
            positions=np.concatenate([part.start + np.arange(len(part.ids)) for part in parts]),
            visible=_visible(parts, n_cached, n_tokens),
            n_cached=n_cached,
            first_node=self._n_read,
            ended=tuple(ended),
            kept=path[:position],
        )

    def advance(self, chunk: Chunk) -> None:
        """Count `chunk` as read."""
        self._place += len(chunk.ended)
        self._position = len(chunk.kept)
        self._n_read += len(chunk.ids)


def continue_plan(plan: Sequence[SharedInput], cached: Ids, *, n_fresh: Sequence[int]) -> list[SharedInput]:
    """`plan` after a cache that holds `cached`; the last `n_fresh[i]` tokens of input i are always read."""
    if not plan:
        return []
    n_free = min(len(item.ids) - n for item, n in zip(plan, n_fresh, strict=True))
    n_shared = min(n_common(plan[0].ids, cached), n_free)
    return [replace(plan[0], n_shared=n_shared), *plan[1:]]


def _visible(parts: Sequence[_Part], n_cached: int, n_tokens: int) -> BoolArray:
    visible = np.zeros((n_tokens, n_cached + n_tokens), dtype=np.bool_)
    for part in parts:
        row, n = part.first_slot - n_cached, len(part.ids)
        visible[row : row + n, part.before] = True
        visible[row : row + n, part.first_slot : part.first_slot + n] = np.tri(n, dtype=np.bool_)
    return visible


@dataclass(frozen=True, slots=True)
class Targets:
    """Tokens to score, each after a node of the walk; sorted by node."""

    nodes: IntArray  # index of a token in the walk
    tokens: IntArray  # the token to score after it
    requests: IntArray  # the request it belongs to

    def within(self, chunk: Chunk) -> Targets:
        """The targets in `chunk`, with nodes relative to its first token."""
        start, stop = np.searchsorted(self.nodes, [chunk.first_node, chunk.first_node + len(chunk.ids)])
        return Targets(
            self.nodes[start:stop] - chunk.first_node, self.tokens[start:stop], self.requests[start:stop]
        )


def find_targets(plan: Sequence[SharedInput], continuations: Sequence[Ids]) -> Targets:
    """Find the node of the walk over `plan` that predicts each token of each request's continuation."""
    nodes: list[IntArray] = []
    tokens: list[int] = []
    requests: list[int] = []
    path = np.full(plan[0].n_shared if plan else 0, -1)  # cached earlier: no targets there
    n_nodes = 0
    for item in plan:
        n_new = len(item.ids) - item.n_shared
        path = np.concatenate([path[: item.n_shared], n_nodes + np.arange(n_new)])
        n_nodes += n_new
        for request in item.places:
            continuation = continuations[request]
            nodes.append(path[len(path) - len(continuation) :])
            tokens.extend(continuation)
            requests.extend([request] * len(continuation))
    all_nodes = np.concatenate(nodes) if nodes else path
    order = np.argsort(all_nodes, kind="stable")
    return Targets(
        all_nodes[order],
        np.asarray(tokens, dtype=np.int64)[order],
        np.asarray(requests, dtype=np.int64)[order],
    )
