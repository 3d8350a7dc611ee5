"""Messages in a model's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from runners.engines import ChatPrompt
from tracker.errors import EngineError


def render_chat(
    tokenizer: Any,
    messages: Sequence[dict[str, str]],
    *,
    add_generation_prompt: bool,
    thinking: bool | None,
) -> ChatPrompt:
    """The messages as the model was trained to see them; `thinking` None leaves that to the template.

    As lm-eval does, a template that refuses gets the messages once more without the system message.

    Raises:
        EngineError: the model has no chat template, or one that refuses again (reason `unsupported`).
    """
    if not getattr(tokenizer, "chat_template", None):
        message = "the model has no chat template"
        raise EngineError(message, reason="unsupported", hint="use a suite without chat")
    options: dict[str, Any] = {
        "tokenize": False,
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": not add_generation_prompt,
    }
    if thinking is not None:
        options["enable_thinking"] = thinking
    try:
        text = tokenizer.apply_chat_template(list(messages), **options)
    except jinja2.exceptions.TemplateError:
        rest = [message for message in messages if message["role"] != "system"]
        try:
            text = tokenizer.apply_chat_template(rest, **options)
        except jinja2.exceptions.TemplateError as error:
            message = f"the model's chat template refuses these messages: {error}"
            raise EngineError(message, reason="unsupported", hint="use a suite without chat") from error
    return ChatPrompt(str(text), messages)
