"""Sentences about a run: in which form it put its questions, and which answers it took from earlier runs.

They take the run's `prompts` and `reused` as JSON has them, which is what the database returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DATE_LENGTH = len("2026-01-31")  # of a time in ISO 8601


def prompt_note(prompts: Sequence[Mapping[str, Any]] | None) -> str:
    """Whether the questions went through the chat template, and whether with a system message.

    Which tasks did is said where they differ.
    """
    if not prompts:
        return "chat: not recorded"
    parts = {
        "chat": _by_task(prompts, "chat", yes="template", no="plain text"),
        "system prompt": _by_task(prompts, "system", yes="yes", no="no"),
    }
    return "; ".join(f"{name}: {said}" for name, said in parts.items())


def reuse_notes(reused: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """One sentence per earlier run whose answers were reused."""
    return [_reuse_note(one) for one in reused or ()]


def _by_task(prompts: Sequence[Mapping[str, Any]], key: str, *, yes: str, no: str) -> str:
    tasks = {
        label: list(dict.fromkeys(one["task"] for one in prompts if one[key] is value))
        for value, label in ((True, yes), (False, no))
    }
    used = {label: names for label, names in tasks.items() if names}
    if len(used) == 1:
        return next(iter(used))
    return ", ".join(f"{label} ({', '.join(names)})" for label, names in used.items())


def _reuse_note(one: Mapping[str, Any]) -> str:
    n_items = one["n_items"]
    answers = "1 answer" if n_items == 1 else f"{n_items:,} answers"
    since = f" of {str(one['started_at'])[:DATE_LENGTH]}" if one["started_at"] else ""
    server = f" (server {one['base_url']})" if one["base_url"] else ""
    return f"{answers} reused from run {one['run_id']}{since}{server}"
