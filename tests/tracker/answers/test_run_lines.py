"""What is said about a run's prompts and about the answers that it reused."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.answers.run_lines import prompt_line, reuse_lines


def form(task: str, *, chat: bool, system: bool = False) -> dict[str, Any]:
    return {"task": task, "chat": chat, "system": system}


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([form("sums", chat=True)], "chat: template; system prompt: no"),
        ([form("arc", chat=False, system=True)], "chat: plain text; system prompt: yes"),
        (
            [form("sums", chat=True, system=True), form("arc", chat=False), form("piqa", chat=False)],
            "chat: template (sums), plain text (arc, piqa); system prompt: yes (sums), no (arc, piqa)",
        ),
        (
            [form("mixed", chat=True), form("mixed", chat=False)],
            "chat: template (mixed), plain text (mixed); system prompt: no",
        ),
        ([], "chat: not recorded"),
        (None, "chat: not recorded"),
    ],
    ids=["template", "plain text", "both", "a group of both", "no task asked", "an old run"],
)
def test_prompt_line(prompts: list[dict[str, Any]] | None, expected: str) -> None:
    assert prompt_line(prompts) == expected


def test_reuse_notes_name_the_run_its_day_and_its_server() -> None:
    reused = [
        {"run_id": "r2", "n_items": 1200, "started_at": "2026-11-28T23:59:59Z", "base_url": "http://a:1/v1"},
        {"run_id": "r1", "n_items": 1, "started_at": None, "base_url": None},
    ]
    assert reuse_lines(reused) == [
        "1,200 answers reused from run r2 of 2026-11-28 (server http://a:1/v1)",
        "1 answer reused from run r1",
    ]
    assert reuse_lines(None) == []
