"""The transcript of an episode: what the user said, what the model answered and called, what came back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FORMAT = 1
MOST_CHARACTERS = 200_000  # kept of one message

# How tools are shown to a model: through its own chat template, or as text in the first message.
TOOL_FORMS = ("template", "text")


@dataclass(frozen=True, slots=True)
class TranscriptCall:
    """One call of a tool; `arguments` are what the model wrote, of whatever type."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """One message: of the `user`, the `assistant` (the model), or a `tool`."""

    role: str
    content: str
    calls: tuple[TranscriptCall, ...] = ()  # of the assistant
    problem: str | None = None  # why what looks like a call of the assistant could not be read
    name: str | None = None  # of the tool that answers


@dataclass(frozen=True, slots=True)
class Transcript:
    """An episode from its first message to its end."""

    messages: tuple[TranscriptMessage, ...]
    end: str  # "done", or why it was ended: "unparsed", "turns", "calls", "tokens", "loop", "context", …
    tools: str = "text"  # one of `TOOL_FORMS`
    n_tools: int = 0
    report: Mapping[str, Any] | None = None  # what happened in the world, as its own process tells it

    @property
    def calls(self) -> tuple[TranscriptCall, ...]:
        """Every call of the episode, in order."""
        return tuple(call for message in self.messages for call in message.calls)

    def to_json(self) -> str:
        """The transcript as one JSON object, which `parse_transcript` reads."""
        found: dict[str, Any] = {
            "transcript": FORMAT,
            "end": self.end,
            "tools": self.tools,
            "n_tools": self.n_tools,
            "messages": [_message(one) for one in self.messages],
        }
        if self.report is not None:
            found["report"] = self.report
        return json.dumps(found, ensure_ascii=False, indent=1)


def parse_transcript(text: str) -> Transcript | None:
    """The transcript in the response of an item; None: it is another kind of answer."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
        if not isinstance(found, Mapping) or found.get("transcript") != FORMAT:
            return None
        messages = tuple(_parsed(one) for one in found["messages"])
        report = found.get("report")
        return Transcript(
            messages,
            end=str(found["end"]),
            tools=str(found["tools"]),
            n_tools=int(found["n_tools"]),
            report=report if isinstance(report, Mapping) else None,
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _message(one: TranscriptMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"role": one.role, "content": one.content[:MOST_CHARACTERS]}
    if one.calls:
        found["calls"] = [{"name": call.name, "arguments": call.arguments} for call in one.calls]
    if one.problem is not None:
        found["problem"] = one.problem
    if one.name is not None:
        found["name"] = one.name
    return found


def _parsed(one: Mapping[str, Any]) -> TranscriptMessage:
    calls: Sequence[Mapping[str, Any]] = one.get("calls", ())
    return TranscriptMessage(
        role=str(one["role"]),
        content=str(one["content"]),
        calls=tuple(TranscriptCall(str(call["name"]), call["arguments"]) for call in calls),
        problem=one.get("problem"),
        name=one.get("name"),
    )
