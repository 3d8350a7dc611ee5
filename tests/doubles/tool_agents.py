"""Small real engines that work on the requests of the suite `tools` without weights, each by a rule."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from runners.engines import ChatPrompt, Generation, GenerationRequest
from runners.harness.episodes import play, with_episodes
from runners.harness.questions import TaskQuestion
from runners.harness.tasks.tools.draw import document, graded
from runners.harness.tasks.tools.kinds import filled, tool_request
from runners.harness.tool_prompts import ChatRenderer
from tracker.errors import EngineError
from tracker.records import EngineInfo, EngineSettings, Model
from tracker.records.transcripts import Transcript, parse_transcript

PLACE = "runners.harness.tasks.tools.draw:begin_episode"
Messages = Sequence[Mapping[str, Any]]


class RuleEngine:
    """Answers each chat by a rule; the messages and the tools of every request are kept."""

    takes_tools = True

    def __init__(
        self, rule: Callable[[Messages, Sequence[Any]], str], *, max_model_len: int = 0, dies_at: int = 0
    ) -> None:
        self.rule, self.dies_at = rule, dies_at
        self.asked: list[GenerationRequest] = []
        self.n_asked: list[int] = []  # at once
        self.prefilled_tokens = self.cut_requests = 0
        self.info = EngineInfo("rule", "1", "float32", "cpu", max_model_len, chat_template_hash="none")

    def chat_prompt(
        self, messages: Messages, *, add_generation_prompt: bool = True, tools: Sequence[Any] = ()
    ) -> str:
        return ChatPrompt(messages[-1]["content"], [dict(one) for one in messages], tools)

    def log_probs(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        self.n_asked.append(len(requests))
        for place, request in enumerate(requests):
            self.asked.append(request)
            if len(self.asked) == self.dies_at:
                raise EngineError("no memory left", reason="out_of_memory")
            assert isinstance(request.prompt, ChatPrompt)
            text = self.rule(request.prompt.messages, request.prompt.tools)
            yield place, Generation(text, "stop", prompt_tokens=10, output_tokens=3, latency_s=0.5)

    def close(self) -> None:
        pass


class ScriptedToolEngine(RuleEngine):
    """Solves the requests of seed 20261130 that have an even number; for a real worker."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        docs = [document("single", seed=20261130, number=number) for number in range(16)]
        solve = oracle(docs)
        wrong = {doc["question"] for doc in docs if doc["number"] % 2}
        super().__init__(lambda m, t: "No." if m[0]["content"] in wrong else solve(m, t))
        self.info = replace(self.info, engine="scripted", max_model_len=4096)
        path = Path(model.path or ".") / "double.json"
        self.kills_at = json.loads(path.read_text())["die_at"] if path.is_file() else 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, answer in super().generate(requests):
            if len(self.asked) == self.kills_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield place, answer


def hermes(name: str, arguments: Any) -> str:
    """A call as Hermes and Qwen write it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def oracle(docs: Sequence[Mapping[str, Any]]) -> Callable[[Messages, Sequence[Any]], str]:
    """The rule that knows the calls that fulfil each of these requests."""
    known = {
        str(doc["question"]): tool_request(doc["kind"], seed=doc["seed"], number=doc["number"])
        for doc in docs
    }

    def solve(messages: Messages, _: Sequence[Any]) -> str:
        request = known[messages[0]["content"]]
        n_answers = sum(one["role"] == "assistant" for one in messages)
        if n_answers >= len(request.solution):
            return "Everything is done."
        step = request.solution[n_answers]
        if step.tool is None:
            return "Which one do you mean?"
        results = [json.loads(one["content"]) for one in messages if one["role"] == "tool"]
        return hermes(step.tool, filled(step.arguments, results))

    return solve


def at_random(messages: Messages, tools: Sequence[Any]) -> str:
    """Any tool with any arguments that its schema allows, or words."""
    chance = Random(hashlib.sha256(json.dumps(list(messages)).encode()).hexdigest())
    if chance.random() < 0.2:
        return "Done."
    function = chance.choice(tools)["function"]

    def value(schema: Mapping[str, Any]) -> Any:
        words = messages[0]["content"].replace(".", "").split()
        words = schema.get("enum") or [*words, "Ada", "Drafts"]
        return chance.randint(0, 60) if schema["type"] == "integer" else chance.choice(words)

    arguments = {name: value(one) for name, one in function["parameters"]["properties"].items()}
    return hermes(function["name"], arguments)


def docs_of(kind: str, *, n: int, seed: int = 1) -> list[dict[str, Any]]:
    """The first requests of a kind."""
    return [document(kind, seed=seed, number=number) for number in range(n)]


def questions_of(docs: Sequence[Mapping[str, Any]], engine: Any) -> list[TaskQuestion]:
    """The requests as the harness asks them."""
    asked = [
        TaskQuestion(
            leaf=None,  # type: ignore[arg-type]  # a task of lm-eval, which only the items need
            doc_id=number,
            doc_hash=str(doc["digest"]),
            prompt="",
            requests=(GenerationRequest("", 256),),
            instances=(SimpleNamespace(doc=doc),),
        )
        for number, doc in enumerate(docs)
    ]
    renderer = ChatRenderer(engine.chat_prompt, takes_tools=engine.takes_tools)
    return with_episodes(asked, PLACE, renderer)


def played_by(engine: Any, docs: Sequence[Mapping[str, Any]]) -> dict[int, Generation]:
    """The transcripts of these requests, by their place."""
    return dict(play(engine, questions_of(docs, engine), stop=lambda: False))


def grades(engine: Any, docs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The metrics of each request."""
    found = played_by(engine, docs)
    return [graded(doc, [found[place].text]) for place, doc in enumerate(docs)]


def transcript_of(engine: Any, doc: Mapping[str, Any]) -> Transcript:
    """The transcript of one request."""
    found = parse_transcript(played_by(engine, [doc])[0].text)
    assert found is not None
    return found
