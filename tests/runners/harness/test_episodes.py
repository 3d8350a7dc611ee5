"""Episodes: whatever a model answers, its episode ends, is counted, and costs no other one anything."""

from __future__ import annotations

import json

import pytest

from runners.engines import ChatPrompt
from runners.harness.episodes import AT_ONCE, LIMITS, MOST_SAME, MOST_UNREADABLE, play
from runners.harness.tasks.tools.draw import graded
from runners.harness.tasks.tools.kinds import tool_request
from tests.doubles.tool_agents import (
    Messages,
    RuleEngine,
    docs_of,
    hermes,
    oracle,
    played_by,
    questions_of,
    transcript_of,
)
from tracker.errors import EngineError
from tracker.records.transcripts import parse_transcript

DOC = docs_of("single", n=1)[0]


def counting(messages: Messages, tools: object) -> str:
    return hermes("archive_memo", {"id": str(len(messages))})


ENDS = {
    "words": (lambda *_: "Done.", "done", 1),
    "calls that cannot be read": (lambda *_: '<tool_call>{"name": ', "unparsed", MOST_UNREADABLE),
    "10 MB of arguments": (lambda *_: hermes("x", "a" * 10_000_000), "unparsed", MOST_UNREADABLE),
    "the same call for ever": (lambda *_: hermes("archive_memo", {}), "loop", MOST_SAME),
    "another call for ever": (counting, "turns", LIMITS.turns),
    "many calls at once": (
        lambda *_: "\n".join(hermes("x", {"id": n}) for n in range(20)), "calls", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_an_episode_ends_whatever_the_model_answers(name: str) -> None:
    rule, end, n_turns = ENDS[name]
    found = transcript_of(RuleEngine(rule), DOC)
    assert found.end == end
    assert sum(one.role == "assistant" for one in found.messages) == n_turns
    assert len(found.calls) <= LIMITS.calls
    assert len(found.to_json()) < 1_000_000


WRONG = {
    "unknown_tools": hermes("launch_rocket", {}),
    "wrong_arguments": hermes(tool_request("single", seed=1, number=0).tools[0], {"id": 7}),
    "unparsed_calls": '<tool_call>{"name": "x", "arguments": {',
}


@pytest.mark.parametrize("metric", WRONG)
def test_an_episode_counts_what_went_wrong_and_can_still_succeed(metric: str) -> None:
    solve = oracle([DOC])

    def rule(messages: Messages, tools: object) -> str:
        if len(messages) == 1:
            return WRONG[metric]
        return solve(messages[:1], []) if len(messages) == 3 else "Done."

    found = graded(DOC, [played_by(RuleEngine(rule), [DOC])[0].text])
    counted = ("unknown_tools", "wrong_arguments", "unparsed_calls")
    assert {name: found[name] for name in counted} == {name: float(name == metric) for name in counted}
    assert found["success"] == 1.0


def test_an_episode_the_person_answers_a_question_once() -> None:
    doc = docs_of("missing", n=1)[0]
    found = transcript_of(RuleEngine(lambda *_: "Which one?"), doc)
    assert [one.role for one in found.messages] == ["user", "assistant", "user", "assistant"]
    assert found.messages[2].content == tool_request("missing", seed=1, number=0).replies[0]


def test_an_episode_a_prompt_beyond_the_context_ends_it() -> None:
    found = transcript_of(RuleEngine(counting, max_model_len=260), DOC)
    assert (found.end, len(found.calls)) == ("context", 1)


def test_an_episode_is_one_answer_with_the_tokens_of_all() -> None:
    (whole,) = played_by(RuleEngine(oracle([DOC])), [DOC]).values()
    assert (whole.prompt_tokens, whole.output_tokens, whole.latency_s) == (20, 6, 1.0)
    assert whole.finish_reason == "stop"


def test_an_engine_that_dies_costs_only_the_open_episodes() -> None:
    docs = docs_of("single", n=AT_ONCE + 50)
    engine = RuleEngine(oracle(docs), dies_at=2 * AT_ONCE + 20)
    kept = []
    with pytest.raises(EngineError):
        kept.extend(place for place, _ in play(engine, questions_of(docs, engine), stop=lambda: False))
    assert len(kept) == len(set(kept)) == AT_ONCE  # the first round of two answers each


def test_episodes_with_long_prompts_are_asked_apart_from_short_ones() -> None:
    engine = RuleEngine(lambda *_: "Done.")
    engine.takes_tools = False
    played_by(engine, [*docs_of("many_200", n=2), *docs_of("single", n=6)])
    assert (sum(engine.n_asked[:-1]), engine.n_asked[-1]) == (6, 2)


def test_an_episode_tools_are_shown_as_text_where_the_template_takes_none() -> None:
    engine = RuleEngine(lambda messages, _: '{"name": "archive_memo", "arguments": {}}'
                        if len(messages) == 9 else "Done.")  # fmt: skip
    engine.takes_tools = False
    assert transcript_of(engine, DOC).tools == "text"
    prompt = engine.asked[1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert not prompt.tools
    name = tool_request("single", seed=1, number=0).tools[0]
    assert f"- {name}(id: string" in prompt.messages[8]["content"]
    assert [one["role"] for one in prompt.messages] == ["user", "assistant"] * 5 + ["user"]
    assert prompt.messages[10]["content"].startswith("Results:\narchive_memo: {")


def test_an_episode_calls_and_results_stand_in_the_template_as_the_api_has_them() -> None:
    engine = RuleEngine(oracle([DOC]))
    played_by(engine, [DOC])
    prompt = engine.asked[1].prompt
    assert isinstance(prompt, ChatPrompt)
    _, call, result = prompt.messages
    step = tool_request("single", seed=1, number=0).solution[0]
    assert call["tool_calls"][0]["function"] == {"name": step.tool, "arguments": step.arguments}
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]
    assert json.loads(result["content"]) == {"ok": True}
    assert len(prompt.tools) == 1


def test_a_transcript_is_read_as_it_was_written_and_other_answers_are_none() -> None:
    found = transcript_of(RuleEngine(oracle([DOC])), DOC)
    assert parse_transcript(found.to_json()) == found
    for text in ("", "42", "{}", '{"transcript": 1}', '{"transcript": 1, "messages": 3}', "{" * 100_000):
        assert parse_transcript(text) is None
