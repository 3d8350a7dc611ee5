"""Lines about one run that every face shows alike: how it was asked, and what became of the answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def completed_line(score: Mapping[str, Any]) -> str:
    """What became of the answers that the score counts but that are none, and the score without them.

    `score` has the fields of a `TaskScore`. Empty where every answer is complete, or none is written.
    """
    completed = score["completed_fraction"]
    if completed is None or math.isnan(completed) or completed == 1.0:
        return ""
    counted = {
        "empty": score["empty_fraction"],
        "of these with text in the thinking alone": score["only_thinking_fraction"],
        "cut off while thinking": score["cut_thinking_fraction"],
    }
    parts = [f"{share:.0%} {name}" for name, share in counted.items() if share]
    if completed and score["completed_value"] is not None and not math.isnan(score["completed_value"]):
        interval = f"{100 * score['completed_ci_low']:.1f}–{score['completed_ci_high']:.1%}"
        parts.append(
            f"{score['completed_value']:.1%} ({interval}) on the {completed:.0%} that are completed answers"
        )
    else:
        parts.append(f"{completed:.0%} completed")
    return f"{score['task']}: {' · '.join(parts)}"


def sampling_line(
    sampling: str | None, values: Mapping[str, Any], repeats: int | None, budget: int | None
) -> str:
    """How the answers were asked for, where it is not as suite and task say; empty otherwise."""
    parts = []
    if sampling not in (None, "task"):
        stated = ", ".join(f"{name} {value:g}" for name, value in values.items())
        parts.append(f"sampling: {sampling}{f' ({stated})' if stated else ''}")
    if repeats not in (None, 1):
        parts.append(f"each sampled answer {repeats} times")
    if budget is not None:
        parts.append(f"{budget:,} tokens for each answer")
    return " · ".join(parts)
