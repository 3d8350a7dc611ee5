"""The facts that an engine takes from the header of a GGUF: context, special tokens, templates, sampling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from runners.engines.llamacpp.file_facts import DEFAULT, FileFacts
from runners.models.gguf import LocalFile, read_tokens
from runners.models.gguf_files import gguf_parts, read_gguf_files
from runners.models.gguf_parent import parent_differences

TEMPLATE = "tokenizer.chat_template"
SPECIAL_FORM = re.compile(r"[<\[].*[>\]]|<\|.*", re.DOTALL)
SAMPLING_KEYS = {  # with the names in a generation config
    "general.sampling.temp": "temperature",
    "general.sampling.top_p": "top_p",
    "general.sampling.top_k": "top_k",
    "general.sampling.min_p": "min_p",
}


def read_facts(path: str) -> FileFacts:
    """The facts in the header of the GGUF at `path`, the first part of a split one.

    Raises:
        ModelError: it is broken, or a part is missing.
    """
    first = Path(path)
    parts = gguf_parts(first, first.name)
    header = read_gguf_files(parts, first.name)
    tokens = read_tokens(LocalFile(parts[0]), first.name)
    texts = (token.decode(errors="replace") for token in tokens)
    named = {
        name.removeprefix(TEMPLATE).removeprefix(".") or DEFAULT: value
        for name, value in header.values.items()
        if (name == TEMPLATE or name.startswith(f"{TEMPLATE}.")) and isinstance(value, str) and value
    }
    return FileFacts(
        context_length=_count(header.of_architecture("context_length")),
        n_tokens=header.n_tokens,
        special_tokens=tuple(text for text in texts if SPECIAL_FORM.fullmatch(text)),
        templates=named,
        parent_differences=parent_differences(header.base_models, tokens, named),
        sampling={name: header.values[key] for key, name in SAMPLING_KEYS.items() if key in header.values},
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
