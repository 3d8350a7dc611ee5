"""Tools on a server: whether it takes them, how they are sent, and the calls that it has read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runners.engines import ChatPrompt, GenerationRequest
from runners.engines.marked_calls import ToolCall
from runners.engines.server.engine import ServerEngine
from tests.runners.engines.test_server_variants import JSON, Reply, Server, piece, serving, stream
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

TOOL = {"type": "function", "function": {"name": "share_memo", "parameters": {"properties": {}}}}
ASKED = [{"role": "user", "content": "Share M1."}]


class ToolServer(Server):
    """A server whose model calls a tool whenever it gets one; it keeps what it was sent."""

    more_tokens = 50  # of the prompt, for the tools

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []

    def answer(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(body)
        more = self.more_tokens if "tools" in body else 0
        usage = {"prompt_tokens": 5 + more, "completion_tokens": 2}
        return 200, "text/event-stream", stream([*self.pieces(body), {"choices": [], "usage": usage}])

    def pieces(self, body: dict[str, Any]) -> list[Any]:
        if "tools" not in body:
            return [piece("four"), piece("", finish_reason="stop")]
        parts = [
            {"index": 0, "id": "a", "function": {"name": "share_memo", "arguments": ""}},
            {"index": 0, "function": {"arguments": '{"id": '}},
            {"index": 1, "id": "b", "function": {"name": "share_memo", "arguments": {"id": "M2"}}},
            {"index": 0, "function": {"arguments": '"M1"}'}},
        ]
        deltas = [piece(None) for _ in parts]
        for delta, part in zip(deltas, parts, strict=True):
            delta["choices"][0]["delta"] = {"tool_calls": [part]}
        return [*deltas, piece("", finish_reason="tool_calls")]


class IgnoringServer(ToolServer):
    """Takes tools without a word, and shows its model none."""

    more_tokens = 0


class RefusingServer(ToolServer):
    """As vLLM without `--enable-auto-tool-choice`, and Ollama with a model without tools."""

    def answer(self, body: dict[str, Any]) -> Reply:
        if "tools" in body:
            return 400, JSON, b'{"error": {"message": "this model does not support tools"}}'
        return super().answer(body)


def engine_of(url: str) -> ServerEngine:
    return ServerEngine(Model("m", "server:1"), EngineSettings(engine="server", base_url=url))


@pytest.mark.parametrize(
    ("server", "expected"), [(ToolServer(), True), (IgnoringServer(), False), (RefusingServer(), False)]
)
def test_server_that_takes_tools_is_found_out_by_asking(
    server: ToolServer, expected: bool, settings: Settings
) -> None:
    with serving(server) as url:
        assert engine_of(url).takes_tools is expected


def test_server_calls_are_joined_from_their_pieces_and_sent_back_as_text(settings: Settings) -> None:
    server = ToolServer()
    history = [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "share_memo", "arguments": {"id": "M0"}}}]},
        {"role": "tool", "content": "{}", "name": "share_memo", "tool_call_id": "c1"},
    ]  # fmt: skip
    with serving(server) as url:
        engine = engine_of(url)
        prompt = engine.chat_prompt(history, tools=[TOOL])
        assert isinstance(prompt, ChatPrompt)
        ((_, answer),) = engine.generate([GenerationRequest(prompt, 32)])
    assert answer.tool_calls == tuple(ToolCall("share_memo", {"id": name}) for name in ("M1", "M2"))
    assert (answer.text, answer.finish_reason) == ("", "stop")
    sent = server.bodies[-1]
    assert sent["tools"] == [TOOL]
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == json.dumps({"id": "M0"})
    assert sent["messages"][2] == history[2]
    assert history[1]["tool_calls"][0]["function"]["arguments"] == {"id": "M0"}
