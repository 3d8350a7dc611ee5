"""A draft model for speculative decoding by llama.cpp: its file, its digest, and whether its tokens fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runners.models.gguf import LocalFile, read_tokens
from runners.models.gguf_files import gguf_parts, local_gguf
from runners.models.repository_files import shown
from tracker.errors import EngineError
from tracker.settings import load_settings

# `common/speculative.cpp` of llama.cpp b11549: vocabularies may end differently, and their first, special
# tokens may have other texts.
MOST_FURTHER_TOKENS = 128
N_SPECIAL = 5
HINT = "a smaller model of the same family, or `--speculative ngram`, which needs none"


def draft_digest(model_path: str, draft_path: str) -> str:
    """`sha256:…` of a draft model whose tokens are those of the model.

    Raises:
        EngineError: there is no such file, or its tokens are others (reason `unsupported`).
        ModelError: it is broken.
    """
    path = Path(draft_path).expanduser()
    if not path.is_file():
        message = f"the draft model `{draft_path}` does not exist"
        raise EngineError(message, reason="unsupported", hint="the path of a .gguf file")
    ours, theirs = (_tokens(Path(one)) for one in (model_path, path))
    if (difference := _difference(ours, theirs)) is not None:
        message = f"the draft model `{path.name}` has another vocabulary: {difference}"
        raise EngineError(message, reason="unsupported", hint=HINT)
    return local_gguf(path, load_settings()).revision


def _tokens(path: Path) -> tuple[bytes, ...]:
    first = gguf_parts(path, path.name)[0]
    return read_tokens(LocalFile(first), path.name)


def _difference(ours: Sequence[bytes], theirs: Sequence[bytes]) -> str | None:
    """What keeps the tokens of a draft model from standing for those of the model; None: nothing."""
    if abs(len(ours) - len(theirs)) > MOST_FURTHER_TOKENS:
        return f"it has {len(theirs):,} tokens, the model {len(ours):,}"
    for place, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if place >= N_SPECIAL and our != their:
            texts = [shown(one.decode(errors="replace")) for one in (their, our)]
            return f"token {place} is `{texts[0]}` there and `{texts[1]}` in the model"
    return None
