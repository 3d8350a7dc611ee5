"""Encode texts that share their lines, each line once: few-shot examples stand in every prompt of a task.

A text is cut before lines that begin with an ASCII letter or digit. The ids of the parts, one after the
other, are those of the whole text if nothing reaches across such a place:

- merges: every result of a byte-pair merge is in the vocabulary, so none crosses a place whose two characters
  no entry of the vocabulary has side by side;
- normalizers and pre-tokenizers: they neither change these characters nor put anything before a text.

Both are read from the tokenizer. Whatever they do not cover, such as a pattern that looks far ahead, is found
by encoding a text whole too, of every group of texts. A tokenizer for which any of this does not hold
encodes each text whole.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Ids = tuple[int, ...]
Encode = Callable[[Sequence[str]], list[Ids]]  # whole texts to ids, without special tokens
Split = Callable[[str], list[str]]  # a text into lines that give it again one after the other

LINE_START = re.compile(r"\n(?=[A-Za-z0-9])")  # begins with a character, for which `re` searches fast
ACROSS = re.compile(r"[\nĊ][A-Za-z0-9]")  # Ċ stands for the line feed in a byte-level vocabulary
PROBE = "Question: 12 + 34 = ?\nA. 46\n\nB. 4\nAnswer: A\n\n\n7 apples,\nthe end.\r\nOnce (x\n\tthere\nwas."
KEPT_CHARACTERS = 4_000_000  # of lines whose ids are kept: some 20 MB


def after_blanks(text: str) -> list[str]:
    """The lines of a text that begin with a letter or digit, each with what follows it."""
    ends = [match.end() for match in LINE_START.finditer(text)]
    return [text[a:b] for a, b in itertools.pairwise((0, *ends, len(text)))]


def after_one_feed(text: str) -> list[str]:
    """The same, without those that follow a blank line.

    GPT-2's pattern takes blanks together at the end of a text, but leaves the last one apart before a word.
    """
    ends = [m.end() for m in LINE_START.finditer(text) if m.start() and not text[m.start() - 1].isspace()]
    return [text[a:b] for a, b in itertools.pairwise((0, *ends, len(text)))]


class LineEncoder:
    """The ids of contexts and what follows them, without special tokens, by their lines."""

    def __init__(self, tokenizer: Any, encode: Encode) -> None:
        """Use `encode` of this Hugging Face tokenizer for the parts."""
        self._encode = encode
        self._known: dict[str, Ids] = {}
        self._n_known = 0  # characters
        self._split: Split | None = None
        if _has_no_merge_across_lines(tokenizer):
            whole = self._whole(PROBE)
            rules = (after_blanks, after_one_feed)
            self._split = next(
                (split for split in rules if self._joined(encode(split(PROBE))) == whole), None
            )

    @property
    def is_exact(self) -> bool:
        """Whether the lines of a text have the ids of the whole, as far as has been seen."""
        return self._split is not None

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[tuple[Ids, Ids]] | None:
        """The ids of each context, and those that the text which follows adds to them.

        None: the tokenizer must encode them whole.
        """
        if self._split is None:
            return None
        split = self._split
        lines = {context: split(context) for context in {context: None for context, _ in texts}}
        # the last line of a context goes on in what follows
        tails = [split(lines[context][-1] + text) for context, text in texts]
        self._learn(itertools.chain.from_iterable((*lines.values(), *tails)))
        contexts = {context: self._ids(own) for context, own in lines.items()}
        found = [
            (contexts[context], self._ids(tail)[len(self._known[lines[context][-1]]) :])
            for (context, _), tail in zip(texts, tails, strict=True)
        ]
        if not self._is_right(texts, found):
            self._split = None
            return None
        return found

    def _is_right(self, texts: Sequence[tuple[str, str]], found: Sequence[tuple[Ids, Ids]]) -> bool:
        """Whether the longest context, and what follows it, have these ids as a whole."""
        if not texts:
            return True
        longest = max(range(len(texts)), key=lambda n: len(texts[n][0]))
        context, both = self._whole(texts[longest][0]), self._whole("".join(texts[longest]))
        return found[longest] == (context, both[len(context) :])

    def _learn(self, lines: Iterable[str]) -> None:
        distinct = set(lines)
        if self._n_known > KEPT_CHARACTERS:
            self._known, self._n_known = {}, 0
        new = sorted(distinct - self._known.keys())
        if new:
            self._known.update(zip(new, self._encode(new), strict=True))
            self._n_known += sum(map(len, new))

    def _ids(self, lines: Sequence[str]) -> Ids:
        return self._joined(self._known[line] for line in lines)

    @staticmethod
    def _joined(parts: Iterable[Ids]) -> Ids:
        return tuple(itertools.chain.from_iterable(parts))

    def _whole(self, text: str) -> Ids:
        return self._encode([text])[0]


def _has_no_merge_across_lines(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE" or backend.truncation or backend.padding:
        return False
    model, normalizer, splitter = backend.model, backend.normalizer, backend.pre_tokenizer
    if model.dropout or model.continuing_subword_prefix or model.end_of_word_suffix:
        return False
    if normalizer is not None and normalizer.normalize_str("A\nA") != "A\nA":
        return False
    if splitter is not None and splitter.pre_tokenize_str("A")[0][0] != "A":
        return False
    return not any(ACROSS.search(entry) for entry in backend.get_vocab(with_added_tokens=True))
