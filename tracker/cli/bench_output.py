"""How `tracker bench` shows a run: the JSON document of the contract, and a table for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tracker.frontier.placement import Placement, Unplaced
from tracker.records import Run, TaskScore


def document(run: Run, placement: Placement | Unplaced | None) -> dict[str, Any]:
    """The run as the JSON contract of `tracker bench --json` has it."""
    cost = run.cost
    return {
        "run_id": run.run_id,
        "model_id": run.model.model_id,
        "revision": run.model.revision,
        "quantization": run.model.quantization,
        "engine": run.settings.engine,
        "engine_version": run.engine.engine_version if run.engine else None,
        "suite": run.suite,
        "suite_version": run.suite_version,
        "status": run.status.value,
        "reason": run.reason,
        "detail": run.detail,
        "n_items": run.n_items,
        "n_reused_items": run.n_reused_items,
        "duration_s": cost.duration_s,
        "load_s": cost.load_s,
        "prompt_tokens": cost.prompt_tokens,
        "prefilled_tokens": cost.prefilled_tokens,
        "output_tokens": cost.output_tokens,
        "tokens_per_s": cost.tokens_per_s,
        "ttft_s": cost.ttft_s,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "energy_j": cost.energy_j,
        "scores": [_score_document(score) for score in run.scores],
        "placement": asdict(placement) if isinstance(placement, Placement) else None,
        "placement_note": _placement_note(placement),
        "warnings": list(run.warnings),
    }


def _score_document(score: TaskScore) -> dict[str, Any]:
    names = (
        "task", "metric", "filter", "value", "stderr", "ci_low", "ci_high", "n_items", "n_total", "chance",
        "truncated_fraction", "unparsed_fraction", "group", "fingerprint",
    )  # fmt: skip
    return {name: getattr(score, name) for name in names}


def _placement_note(placement: Placement | Unplaced | None) -> str | None:
    if placement is None:
        return None
    return placement.note if isinstance(placement, Placement) else placement.reason


def print_run(console: Console, run: Run, placement: Placement | Unplaced | None = None) -> None:
    """Print the run for people: a table of scores, what it cost, what to know."""
    title = f"{run.model.model_id} · {run.suite} v{run.suite_version} · {run.status}"
    table = Table(
        title=escape(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("task", no_wrap=True, overflow="fold")
    for name in ("score", "95 % interval", "chance", "items", "cut off", "unparsed"):
        table.add_column(name, justify="right")
    for score in run.scores:
        if score.group is None:
            table.add_row(*_score_row(score))
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{escape(title)}: no scores")
    console.print(escape(_cost_line(run)), style="dim", highlight=False)
    if placement is not None:
        console.print(escape(_placement_line(placement)), highlight=False)
    for warning in run.warnings:
        console.print(f"warning: {escape(warning)}", highlight=False)


def _placement_line(placement: Placement | Unplaced) -> str:
    if isinstance(placement, Unplaced):
        return placement.reason
    bound = {"at_least": "at least ", "at_most": "at most ", None: ""}[placement.months_bound]
    months = f"{bound}{placement.months_behind:.1f} months behind ({placement.definition}"
    if placement.months_ci_low < placement.months_ci_high:
        months += f", {placement.months_ci_low:.1f} to {placement.months_ci_high:.1f}"
    index = f"index {placement.index:.1f} ({placement.ci_low:.1f} to {placement.ci_high:.1f})"
    note = f"\n{placement.note}" if placement.note else ""
    return f"placement: {index}, {months}); 90 % intervals{note}"


def _score_row(score: TaskScore) -> tuple[str, ...]:
    interval = "–" if score.ci_low is None else f"{100 * score.ci_low:.1f}–{score.ci_high:.1%}"
    unparsed = "–" if score.unparsed_fraction is None else f"{score.unparsed_fraction:.0%}"
    return (
        escape(score.task),
        f"{score.value:.1%}",
        interval,
        f"{score.chance:.1%}",
        f"{score.n_items:,}",
        f"{score.truncated_fraction:.0%}",
        unparsed,
    )


def _cost_line(run: Run) -> str:
    cost = run.cost
    parts = [f"run {run.run_id}", f"{run.n_items:,} items ({run.n_reused_items:,} reused)"]
    parts.append(f"{cost.duration_s:.1f} s")
    if cost.tokens_per_s:
        parts.append(f"{cost.tokens_per_s:,.0f} output tokens/s")
    if cost.ttft_s:
        parts.append(f"first token {cost.ttft_s:.2f} s")
    if cost.peak_memory_bytes:
        parts.append(f"peak memory {cost.peak_memory_bytes / 1e9:.1f} GB")
    if cost.energy_j:
        parts.append(f"{cost.energy_j / 3600:.1f} Wh")
    return " · ".join(parts)


def end_hint(exit_code: int, log_path: str) -> str:
    """What to do after a bench that did not end well."""
    if exit_code == 130:
        return "repeat the command to go on where it stopped"
    if exit_code == 4:
        return "what was measured is kept; repeat the command when it is reachable again"
    return f"what was measured is kept; the worker's log: {log_path}"
