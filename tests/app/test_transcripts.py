"""An episode on the page of items: its transcript message by message, as plain characters."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from runners.harness.tasks.home.levels import HomeEpisode
from tests.doubles.home_agents import solution_calls
from tests.doubles.tool_agents import RuleEngine, docs_of, oracle, played_by
from tracker.records.episode_reports import parse_report
from tracker.records.transcripts import Transcript, TranscriptCall, TranscriptMessage, parse_transcript


def page_of(response: str) -> AppTest:
    def page(response: str) -> None:
        from app.pages.items.response import show_response

        show_response(response, key="response")

    return AppTest.from_function(page, args=(response,), default_timeout=60).run()


def test_a_transcript_is_shown_message_by_message() -> None:
    (doc,) = docs_of("missing", n=1)
    shown = page_of(played_by(RuleEngine(oracle([doc])), [doc])[0].text)
    assert not shown.exception
    captions = [one.value for one in shown.caption]
    assert [one for one in captions if one in ("Person", "Model", "Result of a tool")] == [
        "Person", "Model", "Person", "Model", "Result of a tool", "Model",
    ]  # fmt: skip
    assert [one.value for one in shown.text] == ["done", "1", "1 in the chat template"]
    assert doc["question"] in shown.code[0].value
    assert '{"ok": true}' in shown.code[4].value


def test_a_transcript_of_a_server_shows_its_calls_and_what_could_not_be_read() -> None:
    messages = (
        TranscriptMessage("user", "Share it."),
        TranscriptMessage("assistant", "", (TranscriptCall("share_memo", {"id": "**M1**\x1b[31m"}),)),
        TranscriptMessage("tool", "{}", name="share_memo"),
        TranscriptMessage("assistant", "<tool_call>{", problem="not readable"),
    )
    shown = page_of(Transcript(messages, "unparsed", "text", 3).to_json())
    assert 'share_memo {"id": "**M1**\\u001b[31m"}' in shown.code[1].value
    assert "Model (a call that cannot be read)" in [one.value for one in shown.caption]


def test_the_report_of_a_home_shows_goals_the_timeline_and_what_was_unsafe() -> None:
    episode = HomeEpisode("tools", seed=7, number=9)
    for name, arguments in [*solution_calls(episode), ("unlock", {"entity_id": "entrance door lock"})]:
        episode.call(name, arguments)
    report = episode.report()
    shown = page_of(Transcript((TranscriptMessage("user", "Hi."),), "done", report=report).to_json())
    assert not shown.exception
    facts = dict(zip([one.value for one in shown.caption], [one.value for one in shown.text], strict=False))
    assert facts["Unsafe actions"] == "1"
    assert facts["Goals met"] == f"{len(report['goals'])} of {len(report['goals'])}"
    goals, timeline, states = (one.value for one in shown.dataframe)
    assert set(goals["Met"]) == {"yes"}
    assert list(timeline["Unsafe"]) == ["", "a door unlocked, which no resident asked for", ""]
    assert "state: locked → unlocked" in timeline["Changes"][1]
    lock = states.set_index("Entity").loc["lock.entrance_door_lock"]
    assert (lock["Before"], lock["After"]) == ("state locked", "state unlocked")


BROKEN_REPORTS: list[Any] = [
    {}, {"goals": 3}, {"timeline": [None]}, {"before": []}, {"simulated_s": "x"},
]  # fmt: skip


@pytest.mark.parametrize("report", BROKEN_REPORTS)
def test_a_report_of_another_shape_is_left_out(report: Any) -> None:
    whole = HomeEpisode("tools", seed=7, number=9).report() | report if report else report
    text = Transcript((TranscriptMessage("user", "Hi."),), "done", report=whole).to_json()
    found = parse_transcript(text)
    assert found is not None
    assert parse_report(found.report) is None


def test_another_answer_is_shown_as_its_text() -> None:
    shown = page_of('{"transcript": 1}')
    assert [one.value for one in shown.caption] == ["Response"]
    assert '{"transcript": 1}' in shown.code[0].value
