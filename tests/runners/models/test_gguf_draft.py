"""A draft model for speculative decoding: its tokens must be those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.models.gguf_draft import draft_digest
from tests.builders.gguf_builder import LLAMA, GgufBytes
from tracker.errors import EngineError

SPECIAL = ("<unk>", "<s>", "</s>", "<a>", "<b>")


def _file(folder: Path, name: str, *tokens: str) -> str:
    values = {**LLAMA, "tokenizer.ggml.tokens": (*SPECIAL, *tokens)}
    return str(GgufBytes(values=values).write(folder / name))


def test_gguf_draft_with_the_same_tokens_is_known_by_its_content(tmp_path: Path) -> None:
    model, draft = _file(tmp_path, "m.gguf", "a", "b"), _file(tmp_path, "d.gguf", "a", "b", "more")
    digest = draft_digest(model, draft)
    assert digest.startswith("sha256:")
    assert draft_digest(draft, model) != digest


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (("a", "c"), "has another vocabulary: token 6 is `c` there and `b` in the model"),
        (("a", *map(str, range(200))), "it has 206 tokens, the model 7"),
    ],
)
def test_gguf_draft_with_other_tokens_is_refused(tmp_path: Path, tokens: tuple[str, ...], says: str) -> None:
    model, draft = _file(tmp_path, "m.gguf", "a", "b"), _file(tmp_path, "d.gguf", *tokens)
    with pytest.raises(EngineError) as raised:
        draft_digest(model, draft)
    assert says in str(raised.value)
    assert (raised.value.reason, "--speculative ngram" in (raised.value.hint or "")) == ("unsupported", True)


def test_gguf_draft_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not exist"):
        draft_digest(_file(tmp_path, "m.gguf", "a"), str(tmp_path / "none.gguf"))
