"""The marks of thinking of every reasoning parser that the installed vLLM has are known to our engines."""

from __future__ import annotations

from typing import Any

import pytest

from runners.engines.thinking import find_marks

# vLLM brings libraries that warn on import, and when what they hold is collected
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]
# Where the mark that vLLM names ends every kind of message, ours is the one that begins the answer.
ENDS = {"inkling": "<|content_text|>"}


class Vocabulary(dict[str, int]):
    """Has every token that it is asked for, so that a parser can be made without its model."""

    def __missing__(self, token: str) -> int:
        self[token] = len(self) + 1
        return self[token]

    def get(self, token: str, default: Any = None) -> int:
        return self[token]

    def __contains__(self, token: object) -> bool:
        return True


class AnyTokenizer:
    """A tokenizer whose vocabulary grows."""

    all_special_tokens = ()
    chat_template = ""

    def __init__(self) -> None:
        self.vocabulary = Vocabulary()
        self.init_kwargs = {"token_suffix": ":v3"}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.vocabulary[token]

    def encode(self, text: str, **_: Any) -> list[int]:
        return [self.vocabulary[text]]

    def get_added_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary)


def marks_of(name: str) -> tuple[str, str] | None:
    """The marks of a parser; None for one that has none of its own, or needs more of a tokenizer."""
    from vllm.reasoning import ReasoningParserManager

    tokenizer = AnyTokenizer()
    options = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
    try:
        parser = ReasoningParserManager.get_reasoning_parser(name)(tokenizer, chat_template_kwargs=options)
        start, end = parser.reasoning_start_str, parser.reasoning_end_str
    except (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
    return (start, end) if isinstance(start, str) and isinstance(end, str) else None


def test_thinking_marks_of_every_parser_of_vllm_are_found_in_the_vocabulary() -> None:
    from vllm.reasoning import ReasoningParserManager

    found = {name: marks for name in ReasoningParserManager.list_registered() if (marks := marks_of(name))}
    assert len(found) > 12
    for name, (start, end) in found.items():
        tokenizer = AnyTokenizer()
        for mark in (start.strip(), end.strip()):
            assert tokenizer.vocabulary[mark]
        ours = find_marks(tokenizer)
        assert ours is not None, name
        assert (ours.start, ours.end) == (start.strip(), ENDS.get(name, end.strip())), name
