from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runners.engines.encoding import EncodedPair, Ids
from runners.engines.vllm.scoring import (
    MAX_NEXT_IDS,
    Probe,
    ProbeRows,
    continuation,
    plan_scoring,
)

BLOCK = 4


def log_prob(prefix: Ids, token: int) -> float:
    """A made-up model: any function of prefix and token will do."""
    return -float(hash((prefix, token)) % 1000) / 1000


def top_log_prob(prefix: Ids) -> float:
    return max(log_prob(prefix, token) for token in range(3))


class CachingVllm:
    """Reads whole blocks that it has seen from its cache, and knows nothing of the rows of these."""

    def __init__(self) -> None:
        self.blocks: set[Ids] = set()
        self.n_computed = 0

    def read(self, probe: Probe) -> ProbeRows:
        ids = probe.ids
        n_cached = 0
        while n_cached + BLOCK < len(ids) and ids[: n_cached + BLOCK] in self.blocks:
            n_cached += BLOCK
        self.blocks |= {ids[:n] for n in range(BLOCK, len(ids) + 1, BLOCK)}
        self.n_computed += len(ids) - n_cached
        rows = range(probe.first_row, len(ids) - 1)
        return ProbeRows(
            first_row=probe.first_row,
            log_probs=[log_prob(ids[: r + 1], ids[r + 1]) if r >= n_cached else math.nan for r in rows],
            top_log_probs=[top_log_prob(ids[: r + 1]) for r in rows],
            next_log_probs={token: log_prob(ids, token) for token in probe.next_ids},
            next_top_log_prob=top_log_prob(ids),
            n_cached=n_cached,
        )


def expected(pair: EncodedPair) -> tuple[float, bool]:
    tokens = pair.context + pair.continuation
    steps = [(tokens[:n], tokens[n]) for n in range(len(pair.context), len(tokens))]
    return sum(log_prob(*s) for s in steps), all(log_prob(*s) >= top_log_prob(s[0]) for s in steps)


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=11).map(tuple)
pairs_of_tokens = st.lists(st.builds(EncodedPair, tokens, tokens), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(pairs_of_tokens)
def test_vllm_scoring_no_wanted_row_is_ever_read_from_the_cache(pairs: list[EncodedPair]) -> None:
    plan = plan_scoring(pairs, max_len=100, block_tokens=BLOCK)
    vllm = CachingVllm()
    rows = {n: vllm.read(plan.probes[n]) for n in plan.order}
    answers = [continuation(plan, n, rows, n_tokens=len(p.continuation)) for n, p in enumerate(pairs)]
    for pair, answer in zip(pairs, answers, strict=True):
        assert (answer.log_prob, answer.is_greedy) == (pytest.approx(expected(pair)[0]), expected(pair)[1])
        assert (answer.prompt_tokens, answer.output_tokens) == (len(pair.context), len(pair.continuation))
    n_counted = sum(a.prompt_tokens + a.output_tokens - 1 - a.cached_tokens for a in answers)
    assert n_counted <= vllm.n_computed


def test_vllm_scoring_a_pair_without_the_rows_of_a_probe_has_no_log_prob_and_the_others_do() -> None:
    pairs = [*choices((9, 9, 9), (1,), (2,)), *choices((8, 8), (1, 2))]
    plan = plan_scoring(pairs, max_len=100, block_tokens=BLOCK)
    vllm = CachingVllm()
    rows = {n: None if plan.probes[n].ids[0] == 8 else vllm.read(plan.probes[n]) for n in plan.order}
    answers = [continuation(plan, n, rows, n_tokens=len(p.continuation)) for n, p in enumerate(pairs)]
    assert [answer.is_missing for answer in answers] == [False, False, True]


def choices(context: Ids, *continuations: Ids) -> list[EncodedPair]:
    return [EncodedPair(context, continuation) for continuation in continuations]


def inputs(pairs: Sequence[EncodedPair]) -> list[Ids]:
    plan = plan_scoring(pairs, max_len=100, block_tokens=BLOCK)
    return [plan.probes[n].ids for n in plan.order]


def test_vllm_scoring_choices_of_one_token_are_one_request() -> None:
    pairs = choices((9, 9, 9), (1,), (2,), (3,), (4,))
    (probe,) = plan_scoring(pairs, max_len=100, block_tokens=BLOCK).probes
    assert (probe.ids, list(probe.next_ids)) == ((9, 9, 9), [1, 2, 3, 4])


def test_vllm_scoring_choices_that_part_inside_a_block_need_no_request_more() -> None:
    assert inputs(choices((9, 9, 9), (1, 5), (2, 5))) == [(9, 9, 9, 1), (9, 9, 9, 2)]


def test_vllm_scoring_a_context_that_ends_with_a_block_is_asked_for_itself_first() -> None:
    context = (9, 9, 9, 9)
    assert inputs(choices(context, (1, 5), (2, 5))) == [context, (*context, 1), (*context, 2)]


def test_vllm_scoring_a_context_too_long_is_cut_from_the_left() -> None:
    (probe,) = plan_scoring(choices(tuple(range(50)), (1, 2)), max_len=10, block_tokens=BLOCK).probes
    assert probe.ids == (*range(41, 50), 1)


def test_vllm_scoring_a_continuation_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="a continuation has 11 tokens, more than the model's 10"):
        plan_scoring(choices((9,), (1,) * 11), max_len=10, block_tokens=BLOCK)


def test_vllm_scoring_more_choices_than_vllm_scores_at_once_are_several_requests() -> None:
    pairs = choices((9,), *((n,) for n in range(2 * MAX_NEXT_IDS + 1)))
    plan = plan_scoring(pairs, max_len=100, block_tokens=BLOCK)
    assert [len(probe.next_ids) for probe in plan.probes] == [MAX_NEXT_IDS, MAX_NEXT_IDS, 1]
    assert all(plan.probes[p.probe].next_ids.keys() >= {p.next_id} for (p,) in plan.pieces)


def test_vllm_scoring_the_first_pairs_are_answered_first() -> None:
    pairs = [*choices((9, 9, 9), (1, 2), (2, 1)), *choices((7, 7), (1,), (2,)), *choices((8, 8), (1, 1, 1))]
    plan = plan_scoring(pairs, max_len=100, block_tokens=BLOCK)
    first = [min(plan.probes[n].users) for n in plan.order]
    assert first == sorted(first) == [0, 1, 2, 4]


def test_vllm_scoring_a_text_that_another_one_begins_with_comes_before_it() -> None:
    longer, shorter = EncodedPair((5, 5, 5, 5, 5), (1, 1)), EncodedPair((5,), (5, 5, 5, 5, 1))
    assert inputs([longer, shorter]) == [(5, 5, 5, 5, 5), (5, 5, 5, 5, 5, 1)]
