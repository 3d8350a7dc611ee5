from __future__ import annotations

from runners.engines.stopping import AnswerEnd, ParsedAnswer
from runners.engines.thinking import ThinkingMarks


class Letters:
    """A tokenizer for which every letter is a token."""

    all_special_tokens = ()
    eos_token_id = None

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return "".join(map(chr, ids))


def test_stopping_line_ends_after_the_thinking_are_no_stop_string() -> None:
    marks = ThinkingMarks("<think>", "</think>", tuple(map(ord, "</think>")))
    end = AnswerEnd(Letters(), ("\n",), end_ids=frozenset(), marks=marks, prompt="<think>")
    ids = list(map(ord, "hm\nhm</think>\n\nyes\n"))
    complete = [n for n in range(1, len(ids) + 1) if end.is_complete(ids[:n])]
    assert complete == [len(ids)]
    assert end.answer(ids) == ParsedAnswer(text="yes", thinking="hm\nhm")
