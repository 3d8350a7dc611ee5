"""Beginnings that are kept once: which, and that attention over them is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from runners.engines.encoding import n_common, plan_inputs
from runners.engines.transformers.shared_prefix import attend, shared_prefixes

ids = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


@given(st.lists(ids, min_size=1, max_size=12), st.data(), st.integers(1, 12))
def test_shared_prefix_every_prompt_of_one_begins_with_it_and_none_has_two(
    inputs: list[tuple[int, ...]], data: st.DataObject, min_saved: int
) -> None:
    plan = plan_inputs(inputs)
    n_answers = [data.draw(st.integers(1, 3)) for _ in plan]
    end = 0
    for prefix in shared_prefixes(plan, n_answers, min_saved=min_saved):
        assert end <= prefix.start < prefix.stop
        end = prefix.stop
        members = [item.ids for item in plan[prefix.start : prefix.stop]]
        assert len({member[: prefix.n_tokens] for member in members}) == 1
        assert min(len(member) for member in members) >= prefix.n_tokens
        assert prefix.n_left == sum(n_answers[prefix.start : prefix.stop])
        assert prefix.n_saved == prefix.n_tokens * (prefix.n_left - 1) >= min_saved


def test_shared_prefix_long_beginnings_are_not_cut_to_what_their_neighbours_share() -> None:
    system = (1,) * 10
    tools = [(*system, *(kind,) * 100) for kind in (2, 3)]
    plan = plan_inputs(
        [(*one, 9, n) for one in tools for n in range(20)] + [(*system, 5, n) for n in range(9)]
    )
    found = list(shared_prefixes(plan, [1] * len(plan), min_saved=1))
    assert sorted(prefix.n_tokens for prefix in found) == [11, 111, 111]
    assert sum(prefix.stop - prefix.start for prefix in found) == len(plan)


def test_shared_prefix_samples_of_one_prompt_share_all_of_it() -> None:
    plan = plan_inputs([(1, 2, *(n,) * 50) for n in range(4)])
    found = list(shared_prefixes(plan, [16] * len(plan), min_saved=1))
    assert [prefix.n_tokens for prefix in found] == [52] * 4
    assert n_common(plan[0].ids, plan[1].ids) == 2


@pytest.mark.parametrize("n_groups", [1, 3])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_shared_prefix_attention_is_that_over_prefix_and_own_tokens_together(
    n_groups: int, scale: float | None
) -> None:
    torch.manual_seed(0)
    n_rows, n_heads, dim, n_own, n_tokens = 5, 2, 8, 7, 40
    query = torch.randn(n_rows, n_heads * n_groups, 1, dim) * 4
    own = [torch.randn(n_rows, n_heads, n_own, dim) for _ in range(2)]
    common = [torch.randn(n_heads, n_tokens, dim) for _ in range(2)]
    lengths = torch.tensor([7, 1, 3, 7, 2])
    mask = torch.zeros(n_rows, 1, 1, n_own)
    mask.masked_fill_(torch.arange(n_own) >= lengths[:, None, None, None], torch.finfo(torch.float32).min)
    sees = torch.tensor([0, 1, 4])
    found = attend(query, own[0], own[1], mask, attended=[(sees, *common)], scale=scale)
    for row in range(n_rows):
        keys, values = (part[row, :, : lengths[row]] for part in own)
        if row in sees:
            keys, values = torch.cat([common[0], keys], 1), torch.cat([common[1], values], 1)
        expected = scaled_dot_product_attention(query[row], keys, values, scale=scale, enable_gqa=True)
        torch.testing.assert_close(found[row, 0], expected[:, 0])
