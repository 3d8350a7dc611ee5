"""What the engine needs to know from the header of a GGUF; `runners.models.gguf_facts` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT = "default"  # the name of a model's usual chat template


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The context that a model was trained with, its vocabulary, its chat templates and its sampling."""

    context_length: int | None
    n_tokens: int
    special_tokens: tuple[str, ...]  # those in the form of special ones
    templates: Mapping[str, str]  # by name
    sampling: Mapping[str, float]  # by the names of a generation config
    parent_differences: tuple[str, ...] = ()  # sentences on its tokenizer and chat template

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """As a tokenizer of transformers has it: the only one, several by name, or none."""
        if set(self.templates) <= {DEFAULT}:
            return self.templates.get(DEFAULT)
        return dict(self.templates)
