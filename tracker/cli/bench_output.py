"""The output of `tracker bench`: a JSON document, or a table for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tracker.answers.documents import placement_document
from tracker.answers.placement import equal_text
from tracker.answers.run_lines import (
    by_workers,
    completed_line,
    mean_document,
    mean_line,
    outcome_document,
    paired_line,
    prompt_line,
    replicate_line,
    sampling_line,
    unsafe_lines,
)
from tracker.foreign_text import one_line, printable
from tracker.frontier.placement import Placement, Unplaced
from tracker.memory_estimate import memory_text
from tracker.records import Run, RunStatus, TaskScore
from tracker.serialization import dump
from tracker.wording import counted

MIN_NAME = 16  # letters of a task's name on one line


def document(run: Run, placement: Placement | Unplaced | None) -> dict[str, Any]:
    """The run as `tracker bench --json` prints it."""
    cost = run.cost
    return {
        "run_id": run.run_id,
        "model_id": run.model.model_id,
        "revision": run.model.revision,
        "quantization": run.model.quantization,
        "engine": run.settings.engine,
        "engine_version": run.engine.engine_version if run.engine else None,
        "device": run.engine.device if run.engine else None,
        "suite": run.suite,
        "suite_version": run.suite_version,
        "status": run.status.value,
        "reason": run.reason,
        "detail": run.detail,
        "limit": run.limit,
        "sampling": run.sampling,
        "sampling_values": dict(run.sampling_values),
        "repeats": run.repeats,
        "replicate": run.replicate,
        "max_output_tokens": run.max_output_tokens,
        "sample_seed": run.sample_seed,
        "n_items": run.n_items,
        "n_reused_items": run.n_reused_items,
        "reused": [dump(one) for one in run.reused],
        "prompts": [dump(one) for one in run.prompts],
        "duration_s": cost.duration_s,
        "load_s": cost.load_s,
        "prompt_tokens": cost.prompt_tokens,
        "prefilled_tokens": cost.prefilled_tokens,
        "output_tokens": cost.output_tokens,
        "tokens_per_s": cost.tokens_per_s,
        "n_workers": cost.n_workers,
        "ttft_s": cost.ttft_s,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "memory_basis": cost.memory_basis,
        "energy_j": cost.energy_j,
        "scores": [_score_document(score) for score in run.scores],
        "metrics": [dump(metric) for metric in run.metrics],
        "against": [outcome_document(one) for one in run.against],
        "suite_mean": mean_document(run.suite_mean),
        **placement_document(placement),
        "warnings": list(run.warnings),
    }


def _score_document(score: TaskScore) -> dict[str, Any]:
    names = (
        "task", "metric", "filter", "value", "stderr", "ci_low", "ci_high", "n_items", "n_total", "chance",
        "truncated_fraction", "unparsed_fraction", "empty_fraction", "only_thinking_fraction",
        "cut_thinking_fraction", "completed_fraction", "completed_value", "completed_ci_low",
        "completed_ci_high", "repeats", "mean_output_tokens", "group", "fingerprint",
    )  # fmt: skip
    return {name: getattr(score, name) for name in names}


def _add_columns(table: Table, numbers: Sequence[str]) -> None:
    """The name of the task, which is folded on a narrow terminal, and numbers, which never are."""
    table.add_column("task", overflow="fold", min_width=MIN_NAME)
    for name in numbers:
        # a header may take two lines, so that names get the room
        table.add_column(name, justify="right", no_wrap=" " not in name)


def print_run(console: Console, run: Run, placement: Placement | Unplaced | None = None) -> None:
    """Print a table of scores, the cost, the placement and any warnings."""
    title = f"{run.model.model_id} · {run.suite} v{run.suite_version} · {run.status}"
    table = Table(
        title=escape(one_line(title)),
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    _add_columns(table, ("score", "95% interval", "chance", "items", "truncated", "unparsed"))
    for score in run.scores:
        if score.group is None:
            table.add_row(*_score_row(score))
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{escape(one_line(title))}: no scores")
    completed = [completed_line(dump(score)) for score in run.scores if score.group is None]
    means = [mean_line(dump(run.suite_mean))] if run.suite_mean is not None else []
    for line in filter(None, [*means, *completed, *(paired_line(dump(one)) for one in run.against)]):
        console.print(escape(one_line(line)), highlight=False)
    asked = sampling_line(run.sampling, run.sampling_values, run.repeats, run.max_output_tokens)
    unsafe = unsafe_lines([dump(metric) for metric in run.metrics])
    for line in filter(None, [asked, replicate_line(run.replicate), *unsafe]):
        console.print(escape(one_line(line)), highlight=False)
    grouped = {score.task for score in run.scores if score.group is not None}
    for line in metric_lines([dump(metric) for metric in run.metrics], grouped=grouped):
        console.print(escape(one_line(line)), highlight=False)
    console.print(escape(one_line(_cost_line(run))), style="dim", highlight=False)
    if run.prompts:
        console.print(
            escape(one_line(prompt_line([dump(one) for one in run.prompts]))), style="dim", highlight=False
        )
    if placement is not None:
        console.print(escape(printable(_placement_line(placement))), highlight=False)
    for warning in run.warnings:
        console.print(f"warning: {escape(one_line(warning))}", highlight=False)


def _placement_line(placement: Placement | Unplaced) -> str:
    if isinstance(placement, Unplaced):
        return placement.reason
    bound = {"at_least": "at least ", "at_most": "at most ", None: ""}[placement.months_bound]
    months = f"{bound}{placement.months_behind:.1f} months behind closed models ({placement.definition}"
    if placement.months_ci_low < placement.months_ci_high:
        months += f", {placement.months_ci_low:.1f} to {placement.months_ci_high:.1f}"
    index = f"index {placement.index:.1f} ({placement.ci_low:.1f} to {placement.ci_high:.1f})"
    if placement.below_closed and (equal := equal_text(placement)):
        line = f"placement: {index}; {equal}; {months}, below every closed model of the data); 90% intervals"
    else:
        line = f"placement: {index}, {months}); 90% intervals"
    return f"{line}\n{placement.note}" if placement.note else line


def _score_row(score: TaskScore) -> tuple[str, ...]:
    interval = "–" if score.ci_low is None else f"{100 * score.ci_low:.1f}–{score.ci_high:.1%}"
    unparsed = "–" if score.unparsed_fraction is None else f"{score.unparsed_fraction:.0%}"
    return (
        escape(one_line(score.task)),
        f"{score.value:.1%}",
        interval,
        f"{score.chance:.1%}",
        f"{score.n_items:,}",
        f"{score.truncated_fraction:.0%}",
        unparsed,
    )


def budget_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of runs with different token budgets, each task's score beside the tokens that it took; else none."""
    if len({run.max_output_tokens for run in runs}) < 2:
        return []
    names = ("task", "value", "ci_low", "ci_high", "mean_output_tokens", "cut_thinking_fraction",
             "completed_fraction", "completed_value")  # fmt: skip
    rows = [
        {"suite": run.suite, "run_id": run.run_id, "max_output_tokens": run.max_output_tokens}
        | {name: getattr(score, name) for name in names}
        for run in runs
        for score in run.scores
        if score.group is None and score.completed_fraction is not None
    ]
    places = {row["task"]: place for place, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: (places[row["task"]], row["max_output_tokens"]))


def print_budgets(console: Console, runs: Sequence[Run]) -> None:
    """Print the scores of `budget_rows` against their tokens, if there are any."""
    rows = budget_rows(runs)
    if not rows:
        return
    table = Table(title="score by token budget", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    _add_columns(table, ("budget", "tokens used", "score", "95% interval", "completed", "score of these"))
    for row in rows:
        own = row["completed_value"]
        table.add_row(
            escape(one_line(row["task"])),
            f"{row['max_output_tokens']:,}",
            f"{row['mean_output_tokens']:,.0f}",
            f"{row['value']:.1%}",
            "–" if row["ci_low"] is None else f"{100 * row['ci_low']:.1f}–{row['ci_high']:.1%}",
            f"{row['completed_fraction']:.0%}",
            "–" if own is None else f"{own:.1%}",
        )
    console.print(table)


def metric_lines(metrics: Sequence[Mapping[str, Any]], *, grouped: Collection[str]) -> list[str]:
    """Per task the metrics that are not its score, in their own units, with standard errors.

    `metrics` are rows of `task_metrics`; `grouped` are tasks that are shown as part of their group only.
    """
    lines: dict[str, list[str]] = {}
    for row in metrics:
        if not row["is_headline"] and row["task"] not in grouped:
            name = row["metric"] if row["filter"] == "none" else f"{row['metric']}, {row['filter']}"
            error = "" if row["stderr"] is None else f" ± {row['stderr']:.4g}"
            lines.setdefault(row["task"], []).append(f"{name} {row['value']:.5g}{error}")
    return [f"{task}: {' · '.join(parts)}" for task, parts in lines.items()]


def _cost_line(run: Run) -> str:
    cost = run.cost
    parts = [f"run {run.run_id}", f"{counted(run.n_items, 'item')} ({run.n_reused_items:,} reused)"]
    parts.append(f"{cost.duration_s:.1f} s")
    if cost.tokens_per_s:
        place = f" on {run.engine.device}" if run.engine else ""
        parts.append(f"{cost.tokens_per_s:,.0f} output tokens/s{place}{by_workers(cost.n_workers)}")
    elif cost.n_workers > 1:
        parts.append(f"{cost.n_workers} workers")
    if cost.ttft_s:
        parts.append(f"first token {cost.ttft_s:.2f} s")
    device = run.engine.device if run.engine else None
    if memory := memory_text(dump(cost) | {"engine": run.settings.engine, "device": device}):
        parts.append(memory)
    if cost.energy_j:
        parts.append(f"{cost.energy_j / 3600:.1f} Wh")
    return " · ".join(parts)


def end_hint(exit_code: int, log_path: str, runs: Sequence[Run]) -> str:
    """The hint for a bench that ended early."""
    if exit_code == 130:
        return "repeat the command to resume"
    failed = {run.reason for run in runs if run.status is RunStatus.FAILED}
    if exit_code == 4 and failed == {"no_tasks"}:
        return "correct what is said of each task, then repeat the command; answers so far are stored"
    if exit_code == 4:
        return "answers so far are stored; repeat the command once it is reachable again"
    return f"answers so far are stored; the worker's log: {log_path}"
