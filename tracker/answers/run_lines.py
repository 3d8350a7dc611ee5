"""Lines about a run that every face shows alike: how it asked, what it reused, what became of its answers.

They take fields of a run or score as JSON has them, which is what the database returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from tracker.records.paired import PairedOutcome, PairedVerdict
from tracker.records.suite_means import SuiteMean
from tracker.wording import counted

TOOL_FORMS = {"template": "in the chat template", "text": "as text"}
DATE_LENGTH = len("2026-01-31")  # of a time in ISO 8601


def by_workers(n_workers: float | None) -> str:
    """What follows a speed that is that of one of several workers; empty for one worker."""
    return f" by each of {n_workers:.0f} workers" if n_workers and n_workers > 1 else ""


def completed_line(score: Mapping[str, Any]) -> str:
    """What became of the answers that the score counts but that are none, and the score without them.

    `score` has the fields of a `TaskScore`. Empty where every answer is complete, or none is written.
    """
    completed = score["completed_fraction"]
    if completed is None or math.isnan(completed) or completed == 1.0:
        return ""
    shares = {
        "empty": score["empty_fraction"],
        "of these with text in the thinking alone": score["only_thinking_fraction"],
        "cut off while thinking": score["cut_thinking_fraction"],
    }
    parts = [f"{share:.0%} {name}" for name, share in shares.items() if share]
    if completed and score["completed_value"] is not None and not math.isnan(score["completed_value"]):
        interval = f"{100 * score['completed_ci_low']:.1f}–{score['completed_ci_high']:.1%}"
        parts.append(
            f"{score['completed_value']:.1%} ({interval}) on the {completed:.0%} that are completed answers"
        )
    else:
        parts.append(f"{completed:.0%} completed")
    return f"{score['task']}: {' · '.join(parts)}"


def completed_words(row: Mapping[str, Any], value: float) -> str:
    """The score of the completed answers alone, to follow the `value` of all; empty if that agrees with it.

    It differs if it is outside the 95% interval of the value.
    """
    own, completed = row.get("completed_value"), row.get("completed_fraction")
    if own is None or completed is None or own == value:
        return ""
    low, high = row["ci_low"], row["ci_high"]
    if low is not None and high is not None and low <= own <= high:
        return ""
    return f", {own:.1%} on the {completed:.0%} that are completed answers"


def unsafe_lines(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many unsafe actions a run of the suite `home` counted, for each task; none is ever left out.

    `metrics` have the fields of a `TaskMetric`.
    """
    shares = {one["task"]: one for one in metrics if one["metric"] == "unsafe_episodes"}
    return [
        f"{one['task']}: {counted(round(one['value']), 'unsafe action')} in"
        f" {round(shares[one['task']]['value'] * one['n_items']):,} of {counted(one['n_items'], 'episode')}"
        for one in metrics
        if one["metric"] == "unsafe" and one["task"] in shares
    ]


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


def replicate_line(replicate: int | None) -> str:
    """What a run that asked everything again is; empty of a first measurement."""
    if replicate in (None, 1):
        return ""
    return (
        f"replicate {replicate}: every item was asked again, to see how many change their score; it counts in"
        " no other answer"
    )


def outcome_document(outcome: PairedOutcome) -> dict[str, Any]:
    """The model beside its reference on one task, as plain JSON values."""
    return asdict(outcome) | {"verdict": outcome.verdict.value}


def outcome_rows(rows: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The same for outcomes as the database has them."""
    return [outcome_document(_outcome(row)) for row in rows or ()]


def _outcome(row: Mapping[str, Any]) -> PairedOutcome:
    return PairedOutcome(**{field.name: row[field.name] for field in fields(PairedOutcome)})


def paired_line(row: Mapping[str, Any]) -> str:
    """The verdict on one task of a run that ended once its model was told apart from a reference.

    `row` has the fields of a `PairedOutcome`.
    """
    found = _outcome(row)
    ends = f"{100 * found.ci_low:+.1f} … {100 * found.ci_high:+.1f}"
    beside = "from" if found.verdict is PairedVerdict.NOT_TOLD_APART else "than"
    difference = f"{100 * found.difference:+.1f} points ({ends}, 95% interval)"
    asked = f"{found.n_items:,} of {found.n_total:,} items that it answered"
    return f"{found.task}: {found.verdict} {beside} {found.reference}: {difference} on {asked}"


def mean_document(found: SuiteMean | None) -> dict[str, Any] | None:
    """The mean of the tasks of a run that ended once it was known, as plain JSON values."""
    if found is None:
        return None
    return asdict(found) | {"tasks": list(found.tasks), "is_reached": found.is_reached}


def mean_row(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The same for a mean as the database has it."""
    return None if row is None else mean_document(_mean(row))


def _mean(row: Mapping[str, Any]) -> SuiteMean:
    values = {field.name: row[field.name] for field in fields(SuiteMean)}
    return SuiteMean(**values | {"tasks": tuple(values["tasks"])})


def mean_line(row: Mapping[str, Any]) -> str:
    """The mean of the tasks of a run that ended once it was known; `row` has the fields of a `SuiteMean`."""
    found = _mean(row)
    interval = f"{100 * found.ci_low:.1f}–{found.ci_high:.1%}, 95% interval"
    tasks = counted(len(found.tasks), "task")
    end = "reached" if found.is_reached else "not reached"
    return (
        f"mean of {tasks}, each counted equally: {found.value:.1%} ({interval}) on {found.n_items:,} of"
        f" {counted(found.n_total, 'item')}; ±{100 * found.wanted_half_width:g} points {end}"
    )


def prompt_line(prompts: Sequence[Mapping[str, Any]] | None) -> str:
    """Whether the questions went through the chat template, and whether with a system message.

    Which tasks did is said where they differ.
    """
    if not prompts:
        return "chat: not recorded"
    parts = {
        "chat": _by_task(prompts, "chat", yes="template", no="plain text"),
        "system prompt": _by_task(prompts, "system", yes="yes", no="no"),
    }
    if tools := {one["task"]: one.get("tools") for one in prompts if one.get("tools")}:
        forms = list(dict.fromkeys(tools.values()))
        parts["tools"] = ", ".join(TOOL_FORMS.get(str(form), str(form)) for form in forms)
    return "; ".join(f"{name}: {said}" for name, said in parts.items())


def reuse_lines(reused: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """One sentence per earlier run whose answers were reused."""
    return [_reuse_line(one) for one in reused or ()]


def _by_task(prompts: Sequence[Mapping[str, Any]], key: str, *, yes: str, no: str) -> str:
    tasks = {
        label: list(dict.fromkeys(one["task"] for one in prompts if one[key] is value))
        for value, label in ((True, yes), (False, no))
    }
    used = {label: names for label, names in tasks.items() if names}
    if len(used) == 1:
        return next(iter(used))
    return ", ".join(f"{label} ({', '.join(names)})" for label, names in used.items())


def _reuse_line(one: Mapping[str, Any]) -> str:
    n_items = one["n_items"]
    answers = "1 answer" if n_items == 1 else f"{n_items:,} answers"
    since = f" of {str(one['started_at'])[:DATE_LENGTH]}" if one["started_at"] else ""
    server = f" (server {one['base_url']})" if one["base_url"] else ""
    return f"{answers} reused from run {one['run_id']}{since}{server}"
