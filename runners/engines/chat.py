"""Render messages with a model's chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jinja2

from runners.engines import ChatPrompt
from runners.engines.thinking import find_marks
from runners.step_limits import MIB, StepLimitError, limited_step
from tracker.errors import EngineError, describe_failure
from tracker.records import EngineSettings

# What a template takes for now: with the date of today every prompt would change at midnight, and two models
# of one suite would answer different prompts.
PINNED_NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TRIED_MESSAGES = ({"role": "user", "content": "Which is larger, 17 or 71?"},)
TRIED_TOOLS: Sequence[Mapping[str, Any]] = (
    {
        "type": "function",
        "function": {
            "name": "compare_numbers",
            "description": "Compare two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"first": {"type": "integer", "description": "the first number"}},
                "required": ["first"],
            },
        },
    },
)
DEFAULT_TEMPLATE = "default"  # the one that transformers takes of several
# Template variables that turn thinking on or off: of Qwen3, GLM and most, and of DeepSeek, Granite and Kimi.
THINKING_SWITCHES = ("enable_thinking", "thinking")
RENDER_S = 20.0  # of computing time for one prompt; templates take milliseconds
RENDER_BYTES = 256 * MIB
MOST_CHARACTERS = 1_000_000  # of a prompt, besides what it contains
MOST_TIMES = 20  # as often may a template repeat what it is given
RENDERED_BYTES = 4 * MOST_TIMES  # more per character that it is given


def render_chat(
    tokenizer: Any,
    messages: Sequence[dict[str, Any]],
    *,
    add_generation_prompt: bool,
    thinking: bool | None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> ChatPrompt:
    """Render messages with the model's chat template; `thinking` None leaves thinking to the template.

    `tools`: functions with JSON schemas, as OpenAI's API has them.

    As in lm-eval, a template that rejects the messages gets them again without the system message.

    Raises:
        EngineError: the model has no chat template, it rejects the messages, or it needs too much time,
            memory or space (reason `unsupported`).
    """
    if not getattr(tokenizer, "chat_template", None):
        message = "the model has no chat template"
        raise EngineError(message, reason="unsupported", hint="use a suite without chat")
    known = _named_templates(tokenizer)
    if known and DEFAULT_TEMPLATE not in known:
        message = f"the model has several chat templates, and none of them is called `{DEFAULT_TEMPLATE}`"
        hint = " or ".join(f"`--chat-template {name}`" for name in known)
        raise EngineError(message, reason="unsupported", hint=hint)
    options: dict[str, Any] = {
        "tokenize": False,
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": not add_generation_prompt,
        "strftime_now": PINNED_NOW.strftime,
    }
    if thinking is not None:
        options |= dict.fromkeys(THINKING_SWITCHES, thinking)
    if tools:
        options["tools"] = list(tools)
    n_characters = sum(_n_characters(message) for message in messages)
    n_characters += len(json.dumps(list(tools))) if tools else 0
    more_bytes = RENDER_BYTES + RENDERED_BYTES * n_characters
    with limited_step("the model's chat template", cpu_s=RENDER_S, extra_bytes=more_bytes):
        text = _rendered(tokenizer, messages, options)
    most = MOST_CHARACTERS + MOST_TIMES * n_characters
    if len(text) > most:
        raise StepLimitError(f"the model's chat template makes {len(text):,} characters of {n_characters:,}")
    return ChatPrompt(text, messages, tools)


def _n_characters(message: Mapping[str, Any]) -> int:
    calls = message.get("tool_calls")
    return len(message["content"]) + (len(json.dumps(calls)) if calls else 0)


def takes_tools(tokenizer: Any) -> bool:
    """Whether the chat template shows a model the tools that it is given."""
    try:
        found = render_chat(
            tokenizer, TRIED_MESSAGES, add_generation_prompt=True, thinking=None, tools=TRIED_TOOLS
        )
    except EngineError:
        return False  # no template, or it rejects tools
    return str(TRIED_TOOLS[0]["function"]["name"]) in found


def choose_template(tokenizer: Any, name: str | None) -> None:
    """Make the template of that name the tokenizer's only one; None leaves them as they are.

    Raises:
        EngineError: the model has none of that name (reason `unsupported`).
    """
    if name is None:
        return
    known = _named_templates(tokenizer)
    if name not in known:
        message = f"the model has no chat template called `{name}`"
        hint = (
            f"it has: {', '.join(known)}" if known else "it has none with a name; leave out `--chat-template`"
        )
        raise EngineError(message, reason="unsupported", hint=hint)
    tokenizer.chat_template = known[name]


def _named_templates(tokenizer: Any) -> dict[str, str]:
    """The model's chat templates by name; empty if it has a single one, which has no name."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, list | tuple):
        found = {one["name"]: one["template"] for one in found}
    return dict(sorted(found.items())) if isinstance(found, Mapping) else {}


def try_template(tokenizer: Any) -> None:
    """Render a short message, so that a template without end is found before the weights are loaded.

    Raises:
        StepLimitError: it needs too much time, memory or space.
    """
    try:
        render_chat(tokenizer, TRIED_MESSAGES, add_generation_prompt=True, thinking=None)
    except StepLimitError:
        raise
    except EngineError:
        return  # none, or it rejects this message: a suite without chat may still run


def can_stop_thinking(tokenizer: Any) -> bool:
    """Whether the chat template writes another prompt with thinking off than it does by itself."""
    try:
        usual, without = (
            render_chat(tokenizer, TRIED_MESSAGES, add_generation_prompt=True, thinking=thinking)
            for thinking in (None, False)
        )
    except EngineError:
        return False  # none, or it rejects this message
    return usual != without


def _rendered(tokenizer: Any, messages: Sequence[dict[str, Any]], options: dict[str, Any]) -> str:
    try:
        return str(tokenizer.apply_chat_template(list(messages), **options))
    except jinja2.exceptions.TemplateError:
        rest = [message for message in messages if message["role"] != "system"]
        try:
            return str(tokenizer.apply_chat_template(rest, **options))
        except jinja2.exceptions.TemplateError as error:
            message = f"the model's chat template rejects these messages: {describe_failure(error)}"
            raise EngineError(message, reason="unsupported", hint="use a suite without chat") from error


class TemplatedChat:
    """What engines with the model's own tokenizer share: chats are rendered with its template."""

    _tokenizer: Any
    _settings: EngineSettings

    @property
    def can_stop_thinking(self) -> bool:
        """Whether the model thinks by itself, and its chat template can prevent that."""
        return find_marks(self._tokenizer) is not None and can_stop_thinking(self._tokenizer)

    @property
    def takes_tools(self) -> bool:
        """Whether the model's chat template shows it the tools that it is given."""
        return takes_tools(self._tokenizer)

    def chat_prompt(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool = True,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The messages in the model's chat template, with thinking on or off, by default as in the settings.

        `tools`: functions with JSON schemas, for templates that take them; see `takes_tools`.

        Raises:
            EngineError: the model has no chat template, or it rejects the messages (reason `unsupported`).
        """
        return render_chat(
            self._tokenizer,
            messages,
            add_generation_prompt=add_generation_prompt,
            thinking=self._settings.thinking if thinking is None else thinking,
            tools=tools,
        )
