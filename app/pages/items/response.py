"""A model's answer to one item: its text, or the transcript of an episode, message by message."""

from __future__ import annotations

import json

import streamlit as st

from app.pages.items.report import show_report
from app.widgets.facts import show_facts, show_text
from tracker.records.episode_reports import parse_report
from tracker.records.transcripts import Transcript, TranscriptMessage, parse_transcript
from tracker.wording import counted

SPEAKERS = {"user": "Person", "assistant": "Model"}
TOOL_FORMS = {"template": "in the chat template", "text": "as text"}


def show_response(response: str, *, key: str) -> None:
    """Show an answer as plain characters."""
    transcript = parse_transcript(response)
    if transcript is None:
        show_text("Response", response, key=key)
    else:
        show_transcript(transcript, key=key)


def show_transcript(transcript: Transcript, *, key: str) -> None:
    """Show an episode: how it ended, and every message in order."""
    show_facts(
        {
            "Episode": transcript.end,
            "Calls": f"{len(transcript.calls):,}",
            "Tools": f"{transcript.n_tools:,} {TOOL_FORMS.get(transcript.tools, transcript.tools)}",
        }
    )
    if (report := parse_report(transcript.report)) is not None:
        show_report(report)
    for number, message in enumerate(transcript.messages):
        show_text(_label(message), _body(message), key=f"{key}_{number}")
    st.caption(f"{counted(len(transcript.messages), 'message')}; the prompt begins with the first")


def _label(message: TranscriptMessage) -> str:
    if message.role == "tool":
        return "Result of a tool"
    speaker = SPEAKERS.get(message.role, "Message")
    return f"{speaker} (a call that cannot be read)" if message.problem else speaker


def _body(message: TranscriptMessage) -> str:
    """What a message says; calls that stand apart from its text follow it."""
    if message.role == "tool":
        return f"{message.name}: {message.content}"
    calls = [
        f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}"
        for call in message.calls
        if call.name not in message.content
    ]
    return "\n".join([*([message.content] if message.content else []), *calls])
