"""Every spelling of thinking that vLLM 0.32 parses, read by each of the three engines alike."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from runners.engines import ChatPrompt, GenerationRequest
from runners.engines.server.answers import StreamedAnswer
from runners.engines.stopping import AnswerEnd, unknown_mark
from runners.engines.thinking import find_marks, like_a_mark
from runners.engines.vllm.answers import AnswerReader

# family, tokens of its vocabulary, its template, the end of the prompt, and what it writes
FAMILIES = {
    "qwen3": (["<think>", "</think>"], "", "", "<think>\nhm\n</think>\n\nyes"),
    "deepseek-r1": (["<think>", "</think>"], "{{ x }}<think>\n", "<think>\n", "hm\n</think>\n\nyes"),
    "opening mark only": ([], "{{ x }}<think>\n", "<think>\n", "hm\n</think>yes"),
    "closing mark only": (["</think>"], "", "<think>\n", "hm</think>yes"),
    "olmo-3": ([], "<|im_start|>assistant\n<think>", "<think>", "hm</think>yes"),
    "magistral": (["[THINK]", "[/THINK]"], "", "", "[THINK]hm[/THINK]yes"),
    "seed-oss": (["<seed:think>", "</seed:think>"], "", "", "<seed:think>hm</seed:think>yes"),
    "minimax-m3": (["<mm:think>", "</mm:think>"], "", "", "<mm:think>hm</mm:think>yes"),
    "hunyuan-v3": (["<think:v3>", "</think:v3>"], "", "", "<think:v3>hm</think:v3>yes"),
    "hunyuan-a13b": ([], "</think><answer>", "", "<think>\nhm\n</think>\n<answer>\nyes\n</answer>"),
    "ernie-4.5": (["</think>", "<response>"], "", "<think>", "hm</think>\n\n<response>\nyes\n</response>\n"),
    "granite-3.2": (
        [],
        "'Here is my thought process:' and 'Here is my response:'",
        "",
        "Here is my thought process: hm\n\nHere is my response: yes",
    ),
    "gemma-4": (["<|channel>", "<channel|>"], "", "", "<|channel>thought\nhm<channel|>yes"),
    "gemma-4, opened": (["<|channel>", "<channel|>"], "", "<|channel>thought\n", "hm<channel|>yes"),
    "kimi-k3": (
        ["<|open|>", "<|close|>", "<|sep|>"],
        "<|open|>think<|sep|> <|open|>response<|sep|>",
        "<|open|>think<|sep|>",
        "hm<|close|>think<|sep|><|open|>response<|sep|>yes<|close|>response<|sep|><|close|>message<|sep|>",
    ),
    "k2-horizon": (
        ["<ifm|think>", "</ifm|think>", "<ifm|think_fast>", "</ifm|think_fast>"],
        "",
        "<ifm|think_fast>",
        "hm</ifm|think_fast>yes",
    ),
    "k2-horizon, by itself": (
        ["<ifm|think>", "</ifm|think>", "<ifm|think_faster>", "</ifm|think_faster>"],
        "",
        "",
        "<ifm|think_faster>hm</ifm|think_faster>yes",
    ),
    "command-a": (
        ["<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"],
        "",
        "",
        "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>yes<|END_RESPONSE|>",
    ),
    "plamo-3": (
        ["<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"],
        "",
        "",
        "<|plamo:begin_think:plamo|>hm<|plamo:end_think:plamo|>yes",
    ),
    "inkling": (
        ["<|content_thinking|>", "<|content_text|>", "<|end_message|>", "<|message_model|>"],
        "",
        "<|message_model|>",
        "<|content_thinking|>hm<|end_message|><|message_model|><|content_text|>yes<|end_message|>",
    ),
    "muse": (
        [],
        "to=self<|message|> to=user<|message|>",
        "",
        "to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>yes<|eot|>",
    ),
    "gpt-oss": (
        ["<|channel|>", "<|message|>", "<|start|>", "<|end|>"],
        "<|channel|>analysis<|message|> <|channel|>final<|message|>",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes",
    ),
    "of tomorrow": (["<|begin_of_thought|>", "<|end_of_thought|>"], "", "",
                    "<|begin_of_thought|>hm<|end_of_thought|>yes"),
}  # fmt: skip
TURNS = ("<|eom|>", "<|eot|>", "<|start|>", "<|end|>", "<|end_message|>", "<|message_model|>", "<|message|>")
SPECIAL = (*TURNS, "<|open|>", "<|close|>", "<|sep|>", "<|channel|>")


@dataclass
class Letters:
    """A tokenizer for which every letter is a token, with a vocabulary and a template."""

    added: list[str]
    chat_template: str
    all_special_tokens: tuple[str, ...] = SPECIAL
    eos_token_id: int | None = None
    eos_token: str | None = None

    def get_added_vocab(self) -> dict[str, int]:
        return {token: n for n, token in enumerate(self.added)}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return list(map(ord, text))

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        text = "".join(map(chr, ids))
        for token in self.all_special_tokens if skip_special_tokens else ():
            text = text.replace(token, "")
        return text


def by_transformers(tokenizer: Letters, prompt: str, text: str) -> tuple[str | None, str]:
    marks = find_marks(tokenizer)
    end = AnswerEnd(tokenizer, (), end_ids=frozenset(), marks=marks, prompt=prompt)
    ids = [ord(letter) for letter in text]
    for n in range(1, len(ids) + 1):
        end.is_complete(ids[:n])
    answer = end.answer(ids)
    return answer.thinking, answer.text


def by_vllm(tokenizer: Letters, prompt: str, text: str) -> tuple[str | None, str]:
    times = SimpleNamespace(scheduled_ts=0.0, first_token_ts=0.0, last_token_ts=0.0)
    completion = SimpleNamespace(token_ids=[ord(letter) for letter in text], finish_reason="stop")
    output = SimpleNamespace(outputs=[completion], prompt_token_ids=[1], num_cached_tokens=0, metrics=times)
    reader = AnswerReader(tokenizer, find_marks(tokenizer), may_think=True)
    got = reader.generation(GenerationRequest(ChatPrompt(prompt, []), 50), output)
    return got.thinking, got.text


def by_server(_tokenizer: Letters, prompt: str, text: str) -> tuple[str | None, str]:
    answer = StreamedAnswer(stop=())
    answer.add({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]})
    got = answer.generation(latency_s=0.0, ttft_s=None)
    return got.thinking, got.text


@pytest.mark.parametrize("read", [by_transformers, by_vllm])
@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_is_never_part_of_the_answer(family: str, read: object) -> None:
    added, template, prompt, text = FAMILIES[family]
    thinking, answer = read(Letters(added, template), f"Question{prompt}", text)  # type: ignore[operator]
    assert (str(thinking).removesuffix("assistant").strip(), answer.strip()) == ("hm", "yes")


@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_that_is_cut_off_is_no_answer(family: str) -> None:
    added, template, prompt, text = FAMILIES[family]
    cut = text.partition("hm")[0] + "hm, hm"
    for read in (by_transformers, by_vllm):
        thinking, answer = read(Letters(added, template), f"Question{prompt}", cut)
        assert (str(thinking).strip(), answer) == ("hm, hm", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_in_the_text_of_a_server_is_split_off_without_a_tokenizer(family: str) -> None:
    text = FAMILIES[family][3]
    thinking, answer = by_server(Letters([], ""), "", text)
    assert str(thinking).startswith("hm")
    assert "yes" in answer
    assert "hm" not in answer


@pytest.mark.parametrize("question", ["What does <think> mean?", "Name the end mark of <think>\n"])
def test_thinking_a_mark_in_the_question_opens_nothing(question: str) -> None:
    tokenizer = Letters(["<think>", "</think>"], "")
    for read in (by_transformers, by_vllm):
        assert read(tokenizer, f"user: {question}<end>\nassistant: ", "It opens.") == (None, "It opens.")


def test_thinking_without_marks_in_vocabulary_and_template_the_text_is_the_answer() -> None:
    tokenizer = Letters(["<tool_call>"], "{% if kwargs[thinking_mode] %}{{ messages[think] }}{% endif %}")
    assert find_marks(tokenizer) is None
    assert by_vllm(tokenizer, "q", "<answer>4</answer>") == (None, "<answer>4</answer>")
    marked = Letters(["<think>", "</think>"], "")
    asked_for = "<think>hm</think><answer>4</answer>"  # the task asks for these tags, the model has none
    for read in (by_transformers, by_vllm, by_server):
        assert read(marked, "q", asked_for) == ("hm", "<answer>4</answer>")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<my_think>hm", "<my_think>"),
        (" [REASONING] hm", "[REASONING]"),
        ("<|thought_start|>hm", "<|thought_start|>"),
        ("<|analysis|>hm", "<|analysis|>"),
        ("<turn|>hm", "<turn|>"),
        ("<b>4</b>", None),
        ("[1, 2]", None),
        ("I think <think>", None),
        ("4 < 5 |> 3", None),
    ],
)
def test_thinking_an_answer_that_begins_with_something_like_a_mark_is_noticed(
    text: str, mark: str | None
) -> None:
    assert like_a_mark(text) == mark
    assert unknown_mark(Letters([], "", eos_token="</s>"), list(map(ord, text))) in (mark, None)


@dataclass
class Words:
    """A tokenizer whose tokens are these words."""

    words: dict[int, str]
    eos_token_id: int | None = None
    all_special_tokens: tuple[str, ...] = ()

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(self.words[one] for one in ids)


def test_thinking_the_token_that_ends_every_answer_is_no_mark() -> None:
    ends = Letters([], "", eos_token="<|endoftext|>")
    assert unknown_mark(ends, list(map(ord, "<|end|>"))) == "<|end|>"
    assert unknown_mark(Letters([], "", eos_token="<|end|>"), list(map(ord, "<|end|>"))) is None


@pytest.mark.parametrize("before", ["", " ", "\n\n"])
def test_thinking_an_answer_that_its_first_token_ends_has_no_mark(before: str) -> None:
    words = {0: "<|end|>", 1: "<|my_think|>", 2: "hm", 3: before}
    tokenizer = Words(words)
    end = AnswerEnd(tokenizer, [], end_ids=frozenset({0}))
    assert end.unknown_mark([3, 0]) is None
    assert end.unknown_mark([0]) is None
    assert end.unknown_mark([3, 1, 2, 0]) == "<|my_think|>"
