"""llama.cpp's own tokenizer, with those methods of a Hugging Face tokenizer that the engines share.

The template for chats is the one in the file. It is rendered as transformers does it, so that a model and its
GGUF get the same prompts; where llama.cpp itself renders a simple chat differently, the engine says so.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from runners.engines.llamacpp.api import LlamaApi
from tracker.http_client import WaitingLoop

Answered = TypeVar("Answered")


class LlamaTokenizer:
    """Encodes and decodes by asking the server; waits for each answer."""

    def __init__(
        self,
        api: LlamaApi,
        loop: WaitingLoop,
        *,
        bos: str,
        eos: str,
        chat_template: str | dict[str, str] | None,
        special_tokens: Sequence[str],
    ) -> None:
        """`bos` and `eos` may be empty: the model has none."""
        self._api, self._loop = api, loop
        self.chat_template = chat_template
        self.bos_token, self.eos_token = bos or None, eos or None
        self.bos_token_id, self.eos_token_id = self._id(bos), self._id(eos)
        self.all_special_tokens = [token for token in (bos, eos) if token]
        self._added = {text: n for n, text in enumerate(special_tokens)}

    def __call__(self, texts: Sequence[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        """The tokens of several texts."""
        return {"input_ids": self._wait(self._api.tokenize(texts, add_special=add_special_tokens))}

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of one text."""
        (ids,) = self._wait(self._api.tokenize([text], add_special=add_special_tokens))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens, special ones included."""
        return self._wait(self._api.detokenize(ids)) if ids else ""

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens in the form of special ones; the numbers are not theirs."""
        return self._added

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **options: Any) -> str:
        """The messages in the chat template; `options` are those of transformers.

        Raises:
            jinja2.TemplateError: the template rejects them.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        template = self.chat_template
        if isinstance(template, dict):
            template = template["default"]
        del options["tokenize"]
        options |= {"bos_token": self.bos_token or "", "eos_token": self.eos_token or ""}
        rendered, _ = render_jinja_template([list(messages)], chat_template=template, **options)
        return str(rendered[0])

    def _id(self, token: str) -> int | None:
        ids = self.encode(token, add_special_tokens=False) if token else []
        return ids[0] if len(ids) == 1 else None

    def _wait(self, work: Coroutine[Any, Any, Answered]) -> Answered:
        return self._loop.run(work)
