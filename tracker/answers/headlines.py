"""A gap as a sentence: what the first screen, the command line and the digest say in words."""

from __future__ import annotations

from tracker.frontier.gap import Gap

INDEX_UNIT, SCORE_UNIT = "index", "score"  # of an axis; a gap on a benchmark is a fraction of 1


def headline_sentence(gap: Gap, axis: str, unit: str) -> str:
    """`Open models are 5.6 months behind closed ones`; another axis than the index is named."""
    on_axis = "" if unit == INDEX_UNIT else f" on {axis}"
    if gap.value is None:
        reason = f": {gap.note}" if gap.note else ""
        return f"How far open models are behind closed ones{on_axis} is not known{reason}"
    return f"Open models are {behind_words(gap)}{on_axis}"


def behind_words(gap: Gap) -> str:
    """`5.6 months behind closed ones`, or ahead of them; the value must be known."""
    if gap.value is None:
        raise ValueError(f"{gap.id} has no value to word")
    side = "behind closed ones" if gap.value >= 0 else "ahead of closed ones"
    return f"{_amount(abs(gap.value), gap.unit)} {side}"


def _amount(value: float, unit: str) -> str:
    if unit == SCORE_UNIT:
        return f"{100 * value:.1f} percentage points"
    name = unit if unit == "months" else "points"
    shown = f"{value:.1f}"
    return f"{shown} {name[:-1] if shown == '1.0' else name}"
