"""Compute log-probs of continuations from the logits of a reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from runners.engines import Continuation
from runners.engines.encoding import EncodedPair, Ids, plan_inputs
from runners.engines.transformers.prefix_reader import PrefixReader
from runners.engines.transformers.prefix_tree import Chunk, IntArray, find_targets
from runners.engines.transformers.unpacked_reader import UnpackedReader

SCORED_ROWS = 64  # positions in float32 at once: 64 MiB for a vocabulary of 256k


def score_packed(
    reader: PrefixReader, pairs: Sequence[EncodedPair], inputs: Sequence[Ids]
) -> Iterator[tuple[int, Continuation]]:
    """Yield each pair's index with its answer; no token of `inputs` is computed twice."""
    plan = plan_inputs(inputs)
    n_fresh = [max(len(pairs[place].continuation) for place in item.places) for item in plan]
    walk = reader.start(plan, n_fresh=n_fresh)
    targets = find_targets(walk.plan, [pair.continuation for pair in pairs])
    n_computed = {item.places[0]: len(item.ids) - item.n_shared for item in walk.plan}
    log_probs = np.zeros(len(pairs))
    is_greedy = np.ones(len(pairs), dtype=np.bool_)

    def wanted(chunk: Chunk) -> IntArray:
        return np.unique(targets.within(chunk).nodes)

    for chunk, logits in reader.read(walk, wanted):
        here = targets.within(chunk)
        rows = np.searchsorted(wanted(chunk), here.nodes)
        values, best = token_log_probs(logits, rows, here.tokens)
        np.add.at(log_probs, here.requests, values)
        np.logical_and.at(is_greedy, here.requests, best == here.tokens)
        for ended in chunk.ended:
            for place in walk.plan[ended.place].places:
                n_cached = len(inputs[place]) - n_computed.get(place, 0)
                yield (
                    place,
                    _answer(pairs[place], inputs[place], log_probs[place], is_greedy[place], n_cached),
                )


def score_unpacked(
    reader: UnpackedReader, pairs: Sequence[EncodedPair], inputs: Sequence[Ids]
) -> Iterator[tuple[int, Continuation]]:
    """Yield each pair's index with its answer; each distinct input is read once, in full."""
    plan = plan_inputs(inputs)
    n_last = [max(len(pairs[place].continuation) for place in item.places) for item in plan]
    for n, logits in reader.logits(plan, n_last):
        for place in plan[n].places:
            tokens = np.asarray(pairs[place].continuation)
            rows = np.arange(len(logits) - len(tokens), len(logits))
            values, best = token_log_probs(logits, rows, tokens)
            n_cached = 0 if place == plan[n].places[0] else len(inputs[place])
            is_greedy = bool((best == tokens).all())
            yield place, _answer(pairs[place], inputs[place], values.sum(), is_greedy, n_cached)


def token_log_probs(
    logits: torch.Tensor, rows: IntArray, tokens: IntArray
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], IntArray]:
    """The log-prob of each of `tokens` in its row of `logits` (R, V), and the row's most probable token.

    `rows` ascend. In float32 over the whole vocabulary, whatever the model's own type is. With
    `log_softmax` and not `logsumexp`: on a CPU the former is 1e-5 nats per token off (vocabulary of
    49k, against float64), but so is lm-eval, and the scores are to be compared with its.
    """
    values = torch.empty(len(rows))
    best = torch.empty(len(rows), dtype=torch.long)
    for start in range(0, len(logits), SCORED_ROWS):
        low, high = np.searchsorted(rows, [start, start + SCORED_ROWS])
        block = torch.log_softmax(logits[start : start + SCORED_ROWS].float(), -1)
        row = torch.from_numpy(rows[low:high]).to(block.device) - start
        values[low:high] = block[row, torch.from_numpy(tokens[low:high]).to(block.device)].cpu()
        best[low:high] = block.argmax(-1)[row].cpu()
    return values.double().numpy(), best.numpy()


def _answer(pair: EncodedPair, ids: Ids, log_prob: float, is_greedy: bool, n_cached: int) -> Continuation:
    n_continuation = len(pair.continuation)
    return Continuation(
        log_prob=float(log_prob),
        is_greedy=bool(is_greedy),
        prompt_tokens=len(ids) + 1 - n_continuation,
        output_tokens=n_continuation,
        cached_tokens=n_cached,
    )
