"""Show tools to a model: through its own chat template where that takes them, else as text.

The text is a protocol of our own, one line of JSON for each call, in the first message of the user, since
some templates drop a system message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracker.errors import EngineError
from tracker.records.transcripts import TranscriptMessage

PROTOCOL = """You work with tools. A call is one line of JSON with the name of a tool and its arguments; \
several calls stand on several lines. You then get the results. When everything is done, or if you need to \
ask something, answer in plain words.

"""
REQUEST = """Tools:
{tools}

Request: {request}"""
# Worked examples: small models follow what stands before their request, and not a description. With one
# example SmolLM2-135M answers "Done." to every request, with two it writes calls.
DELETE = "- delete_memo(id: string): Delete a memo."
SEND = "- send_card(id: string, city: string): Send a card to a city."
EXAMPLES = (
    TranscriptMessage("user", PROTOCOL + REQUEST.format(tools=DELETE, request="Delete the memo M1000.")),
    TranscriptMessage("assistant", '{"name": "delete_memo", "arguments": {"id": "M1000"}}'),
    TranscriptMessage("user", 'Results:\ndelete_memo: {"ok": true}'),
    TranscriptMessage("assistant", "Done."),
    TranscriptMessage(
        "user", REQUEST.format(tools=f"{DELETE}\n{SEND}", request="Send the card C2000 to Rome.")
    ),
    TranscriptMessage("assistant", '{"name": "send_card", "arguments": {"id": "C2000", "city": "Rome"}}'),
    TranscriptMessage("user", 'Results:\nsend_card: {"ok": true}'),
    TranscriptMessage("assistant", "Done."),
)
STOP_PLAIN = ("\nUser:", "\nResults:")  # of a model without a chat template, which writes on
RESULTS = "Results:"


class ChatRenderer:
    """Renders the messages of an episode as a prompt."""

    def __init__(self, chat_prompt: Callable[..., str] | None, *, takes_tools: bool) -> None:
        """`chat_prompt`: the engine's, None for a model without a chat template."""
        self._chat_prompt = chat_prompt
        self.form = "template" if takes_tools and chat_prompt else "text"

    @property
    def stop(self) -> tuple[str, ...]:
        """Where an answer ends besides the model's own marks."""
        return STOP_PLAIN if self._chat_prompt is None else ()

    def prompt(self, messages: Sequence[TranscriptMessage], tools: Sequence[Mapping[str, Any]]) -> str:
        """The prompt for the next answer.

        A template that rejects calls among the messages gets what the model wrote, and the results as text.

        Raises:
            EngineError: the template rejects these messages as well (reason `unsupported`).
        """
        if self._chat_prompt is None:
            lines = [f"{_speaker(one)}: {one.content}" for one in _as_text(messages, tools)]
            return "\n\n".join([*lines, "Assistant:"])
        if self.form == "text":
            return self._chat_prompt([_plain(one) for one in _as_text(messages, tools)])
        try:
            return self._chat_prompt(_with_calls(messages), tools=list(tools))
        except EngineError:
            if not any(one.calls for one in messages):
                raise
        plain = [_plain(one) for one in _as_text(messages)]
        return self._chat_prompt(plain, tools=list(tools))


@dataclass(frozen=True, slots=True)
class ToolLine:
    """One tool as a line of text."""

    schema: Mapping[str, Any]

    def __str__(self) -> str:
        """Its name, its arguments with their types, and what it does."""
        function = self.schema["function"]
        required = function["parameters"]["required"]
        arguments = ", ".join(
            f"{name}{'' if name in required else '?'}: {_type(one)}"
            for name, one in function["parameters"]["properties"].items()
        )
        return f"- {function['name']}({arguments}): {function['description']}"


def _type(schema: Mapping[str, Any]) -> str:
    return " | ".join(json.dumps(one) for one in schema["enum"]) if "enum" in schema else str(schema["type"])


def _as_text(
    messages: Sequence[TranscriptMessage], tools: Sequence[Mapping[str, Any]] | None = None
) -> list[TranscriptMessage]:
    """The messages with the results of one answer as one message of the user, and the tools in the first."""
    found: list[TranscriptMessage] = []
    for one in messages:
        if one.role != "tool":
            found.append(one)
            continue
        line = f"{one.name}: {one.content}"
        if found and found[-1].content.startswith(RESULTS):
            found[-1] = TranscriptMessage("user", f"{found[-1].content}\n{line}")
        else:
            found.append(TranscriptMessage("user", f"{RESULTS}\n{line}"))
    if tools is not None:
        lines = "\n".join(str(ToolLine(one)) for one in tools)
        # what is said around a request stands before the tools: behind them, small models call nothing
        around, blank, request = found[0].content.rpartition("\n\n")
        text = f"{around}{blank}{REQUEST.format(tools=lines, request=request)}"
        found[0] = TranscriptMessage("user", text)
        return [*EXAMPLES, *found]
    return found


def _plain(one: TranscriptMessage) -> dict[str, Any]:
    return {"role": one.role, "content": one.content}


def _speaker(one: TranscriptMessage) -> str:
    return "Assistant" if one.role == "assistant" else "User"


def _with_calls(messages: Sequence[TranscriptMessage]) -> list[dict[str, Any]]:
    """The messages as OpenAI's API has them, with arguments as objects, which templates expect."""
    found: list[dict[str, Any]] = []
    waiting: list[str] = []  # ids of calls whose results are not there yet
    n_calls = 0
    for one in messages:
        message = _plain(one)
        if one.calls:
            waiting = [
                f"call{n_calls + number:05d}" for number in range(len(one.calls))
            ]  # Mistral: 9 letters
            n_calls += len(waiting)
            message["content"] = ""
            message["tool_calls"] = [
                {
                    "id": key,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _object(call.arguments)},
                }
                for key, call in zip(waiting, one.calls, strict=True)
            ]
        if one.role == "tool":
            message |= {"name": one.name, "tool_call_id": waiting.pop(0)}
        found.append(message)
    return found


def _object(arguments: Any) -> Mapping[str, Any]:
    """Arguments as templates expect them: what is no object stands under a key of its own."""
    return arguments if isinstance(arguments, Mapping) else {"value": arguments}
