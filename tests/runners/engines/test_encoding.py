"""Token ids are lm-eval's, and the plan puts what inputs share next to each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedTokenizerFast

from runners.engines import ContinuationRequest, GenerationRequest
from runners.engines.encoding import (
    EncodedPair,
    chat_template_hash,
    encode_pairs,
    encode_prompts,
    encode_windows,
    max_model_len,
    plan_inputs,
)
from tests.builders.tiny_models import tiny_tokenizer
from tracker.errors import EngineError

TOKENIZERS = {
    "byte-level with BOS": tiny_tokenizer(),
    "byte-level without BOS": tiny_tokenizer(bos=False),
    "metaspace with BOS": tiny_tokenizer(metaspace=True),
    "metaspace without BOS": tiny_tokenizer(bos=False, metaspace=True),
}
texts = st.lists(
    st.sampled_from(["the", " ", "Question:", "\n", "fox", "  ", "é", "7", "<s>", "</s>", "."]), max_size=6
)
each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())


class StockEncoding(HFLM):
    """lm-eval's own encoding, without a model: it records the tokens instead of scoring them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.backend = "causal"
        self.custom_prefix_token_id = None
        self.add_bos_token = None
        self.enable_thinking = None

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        return [(context, continuation) for _, context, continuation in requests]


def stock_pair(tokenizer: Any, context: str, continuation: str) -> EncodedPair:
    instance = Instance("loglikelihood", {}, (context, continuation), 0)
    (pair,) = StockEncoding(tokenizer).loglikelihood([instance], disable_tqdm=True)
    return EncodedPair(tuple(pair[0]), tuple(pair[1]))


@each_tokenizer
@settings(max_examples=60, deadline=None)
@given(context=texts.map("".join), continuation=texts.map("".join))
def test_encoding_a_pair_has_the_tokens_that_lm_eval_gives_it(
    tokenizer: Any, context: str, continuation: str
) -> None:
    if not context and not tokenizer.encode(continuation, add_special_tokens=False):
        return  # lm-eval fails there
    stock = stock_pair(tokenizer, context, continuation)
    if not stock.context:
        return  # blanks alone and no BOS: lm-eval fails there
    request = ContinuationRequest(context, continuation)
    if stock.continuation:
        assert encode_pairs(tokenizer, [request]) == [stock]
    else:
        with pytest.raises(EngineError, match="adds no token"):
            encode_pairs(tokenizer, [request])


@each_tokenizer
@settings(max_examples=60, deadline=None)
@given(prompt=texts.map("".join), n_output=st.integers(1, 30))
def test_encoding_a_prompt_has_the_tokens_that_lm_eval_gives_it(
    tokenizer: Any, prompt: str, n_output: int
) -> None:
    stock, _ = StockEncoding(tokenizer).tok_batch_encode([prompt], left_truncate_len=32 - n_output)
    if stock.shape[1]:
        whole = StockEncoding(tokenizer).tok_batch_encode([prompt])[0]
        ours, n_cut = encode_prompts(tokenizer, [GenerationRequest(prompt, n_output)], max_len=32)
        assert ours == [tuple(stock[0].tolist())]
        assert n_cut == (whole.shape[1] > stock.shape[1])


@each_tokenizer
def test_encoding_an_empty_prompt_becomes_the_prefix_token(tokenizer: Any) -> None:
    (ids,), n_cut = encode_prompts(tokenizer, [GenerationRequest("", 4)], max_len=32)
    assert (len(ids), n_cut) == (1, 0)


def test_encoding_an_answer_as_long_as_the_model_leaves_half_of_it_to_the_prompt() -> None:
    tokenizer = TOKENIZERS["byte-level with BOS"]
    (ids,), n_cut = encode_prompts(tokenizer, [GenerationRequest("fox " * 50, 999)], max_len=32)
    assert (len(ids), n_cut) == (16, 1)


def test_encoding_a_long_pair_is_cut_from_the_left_as_lm_eval_does() -> None:
    pair = EncodedPair((1, 2, 3, 4), (5, 6))
    assert [pair.input_ids(n) for n in (9, 5, 4, 2)] == [
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5),
        (2, 3, 4, 5),
        (4, 5),
    ]
    assert [pair.is_cut(n) for n in (9, 5, 4, 2)] == [False, False, True, True]


inputs = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12)


@given(inputs)
def test_encoding_the_plan_names_every_request_once_and_computes_no_token_twice(
    ids: list[tuple[int, ...]],
) -> None:
    plan = plan_inputs(ids)
    assert sorted(place for item in plan for place in item.places) == list(range(len(ids)))
    assert all(ids[place] == item.ids for item in plan for place in item.places)
    beginnings = {one[:n] for one in ids for n in range(1, len(one) + 1)}
    assert sum(len(item.ids) - item.n_shared for item in plan) == len(beginnings)


class Config:
    """A configuration with these keys."""

    def __init__(self, **keys: object) -> None:
        self.__dict__.update(keys)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(n_positions=7, max_position_embeddings=9), 7),
        (Config(max_position_embeddings=9, text_config=Config(max_position_embeddings=5)), 5),
        (Config(), 64),
    ],
    ids=["first key", "text model before the whole", "tokenizer"],
)
def test_encoding_reads_the_longest_input_from_the_configuration(config: Config, expected: int) -> None:
    assert max_model_len(config, Config(model_max_length=64)) == expected


def test_encoding_a_tokenizer_without_a_length_leaves_lm_evals_default() -> None:
    assert max_model_len(Config(), Config(model_max_length=int(1e30))) == 2048


def test_encoding_the_hash_of_a_chat_template_changes_with_it() -> None:
    first, second, none = Config(chat_template="a"), Config(chat_template="b"), Config(chat_template=None)
    assert chat_template_hash(first) != chat_template_hash(second)
    assert chat_template_hash(none) is None


@each_tokenizer
@pytest.mark.parametrize("max_len", [1, 2, 5, 16])
def test_encoding_windows_of_a_text_are_those_of_lm_eval(tokenizer: Any, max_len: int) -> None:
    stock = StockEncoding(tokenizer)
    for text in ("", "a", "The quick brown fox jumps over the lazy dog. " * 3, "<s>Question: is 7 prime?"):
        theirs = get_rolling_token_windows(
            stock.tok_encode(text),
            prefix_token=stock.prefix_token_id,
            max_seq_len=max_len,
            context_len=1,
        )
        expected = [tuple(map(tuple, make_disjoint_window(window))) for window in theirs]
        windows = encode_windows(tokenizer, text, max_len=max_len)
        assert [(window.context, window.continuation) for window in windows] == expected


class Shouting(PreTrainedTokenizerFast):
    """A tokenizer with code of its own between the call and the library in Rust."""

    def _encode_plus(self, text: Any, *args: Any, **named: Any) -> Any:
        texts = [one.replace("fox", "the") for one in text] if isinstance(text, list) else text
        return super()._encode_plus(texts, *args, **named)


def test_a_tokenizer_with_code_of_its_own_is_called_itself() -> None:
    plain = tiny_tokenizer()
    own = Shouting(tokenizer_object=plain.backend_tokenizer, bos_token=plain.bos_token, eos_token="</s>")
    (changed,) = encode_pairs(own, [ContinuationRequest("Question: the", " fox")])
    (stated,) = encode_pairs(plain, [ContinuationRequest("Question: the", " the")])
    (other,) = encode_pairs(plain, [ContinuationRequest("Question: the", " fox")])
    assert changed == stated != other


@pytest.mark.parametrize("kind", ["truncation", "padding"])
def test_a_tokenizer_that_cuts_or_pads_gives_what_its_call_gives(kind: str) -> None:
    cut = tiny_tokenizer()
    backend = cut.backend_tokenizer
    backend.enable_truncation(3) if kind == "truncation" else backend.enable_padding(length=12)
    pairs = [ContinuationRequest("Question: the fox", " the fox.")]
    assert encode_pairs(cut, pairs) == encode_pairs(tiny_tokenizer(), pairs)
