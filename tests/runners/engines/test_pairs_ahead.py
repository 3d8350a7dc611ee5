"""What is encoded while an engine loads has the same ids, is taken once, and is held within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runners.engines import ContinuationRequest
from runners.engines.encoding import EncodedPair, encode_pairs, encodes_by_lines
from runners.engines.pairs_ahead import MOST_TOKENS, PairsAhead
from tests.runners.engines.test_line_encoding import byte_level, word_pieces

CHOICES = [" A", " B", " the fox"]


def questions(n: int, *, first: int = 0) -> list[ContinuationRequest]:
    shots = "Question: the quick fox?\nAnswer: A\n\n" * 3
    return [
        ContinuationRequest(f"{shots}Question: what is {place} dogs?\nAnswer:", choice)
        for place in range(first, first + n)
        for choice in CHOICES
    ]


def waited_for(
    ahead: PairsAhead, tokenizer: Any, offered: Sequence[Sequence[ContinuationRequest]]
) -> PairsAhead:
    """After a block in which an engine loads until all that was offered has been taken to be encoded."""
    with ahead.encoded_by(tokenizer):
        for requests in offered:
            ahead.offer(requests)
        with ahead._changed:
            assert ahead._changed.wait_for(lambda: not ahead._offered and not ahead._is_encoding, timeout=60)
    return ahead


def test_what_is_encoded_ahead_is_what_would_be_encoded_later_and_taken_once() -> None:
    tokenizer, asked = byte_level(None), questions(20)
    ahead = waited_for(PairsAhead(), tokenizer, [asked[:30], asked[30:]])
    assert ahead.take(asked) == encode_pairs(byte_level(None), asked)
    assert ahead.take(asked) == [None] * len(asked)


def test_requests_that_come_before_the_engine_loads_are_encoded_too() -> None:
    tokenizer, asked = byte_level(None), questions(4)
    ahead = PairsAhead()
    ahead.offer(asked)
    assert waited_for(ahead, tokenizer, []).take(asked) == encode_pairs(tokenizer, asked)


def test_of_requests_of_which_some_are_missing_the_others_are_there() -> None:
    tokenizer, asked = byte_level(None), questions(4)
    ahead = waited_for(PairsAhead(), tokenizer, [asked[3:]])
    found = ahead.take(asked)
    assert found == [None, None, None, *encode_pairs(tokenizer, asked[3:])]


def test_what_comes_after_the_engine_is_loaded_is_left_to_its_turn() -> None:
    tokenizer, asked = byte_level(None), questions(2)
    ahead = waited_for(PairsAhead(), tokenizer, [])
    ahead.offer(asked)
    assert ahead.take(asked) == [None] * len(asked)


def test_a_choice_that_cannot_be_scored_is_told_at_its_turn_and_spoils_no_others() -> None:
    tokenizer, sound = byte_level(None), questions(2)
    broken = [ContinuationRequest("Question: the fox\nAnswer:", "")]
    ahead = waited_for(PairsAhead(), tokenizer, [broken, sound])
    assert ahead.take(broken) == [None]
    assert ahead.take(sound) == encode_pairs(tokenizer, sound)


@pytest.mark.parametrize("tokenizer", [word_pieces()], ids=["word pieces"])
def test_a_tokenizer_that_does_not_encode_by_lines_encodes_nothing_ahead(tokenizer: Any) -> None:
    assert not encodes_by_lines(tokenizer)
    ahead, asked = PairsAhead(), questions(2)
    ahead.offer(asked)
    with ahead.encoded_by(tokenizer):
        pass
    assert ahead.take(asked) == [None] * len(asked)


def test_no_more_tokens_are_held_than_fit() -> None:
    tokenizer, asked = byte_level(None), questions(2)
    ahead = PairsAhead()
    ahead._n_tokens = MOST_TOKENS
    ahead.offer(asked)
    with ahead.encoded_by(tokenizer):
        pass
    assert ahead.take(asked) == [None] * len(asked)


def test_what_no_engine_encodes_is_forgotten_once_one_is_loaded() -> None:
    tokenizer, asked = byte_level(None), questions(2)
    ahead = PairsAhead()
    ahead.offer(asked)
    ahead.forget_offers()
    assert waited_for(ahead, tokenizer, []).take(asked) == [None] * len(asked)


def test_what_was_never_asked_is_forgotten_with_the_job() -> None:
    tokenizer, asked = byte_level(None), questions(2)
    ahead = waited_for(PairsAhead(), tokenizer, [asked])
    ahead.clear()
    found: list[EncodedPair | None] = ahead.take(asked)
    assert found == [None] * len(asked)
