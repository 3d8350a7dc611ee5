"""An episode on the page of items: its transcript message by message, as plain characters."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.doubles.tool_agents import RuleEngine, docs_of, oracle, played_by
from tracker.records.transcripts import Transcript, TranscriptCall, TranscriptMessage


def page_of(response: str) -> AppTest:
    def page(response: str) -> None:
        from app.pages.items.response import show_response

        show_response(response, key="response")

    return AppTest.from_function(page, args=(response,)).run()


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


def test_another_answer_is_shown_as_its_text() -> None:
    shown = page_of('{"transcript": 1}')
    assert [one.value for one in shown.caption] == ["Response"]
    assert '{"transcript": 1}' in shown.code[0].value
