"""`tracker show MODEL`: everything known about one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.answers.abilities import ability_line
from tracker.answers.model_record import ModelRecord, read_model
from tracker.answers.repeatability import repeatability_line
from tracker.answers.run_lines import (
    by_workers,
    completed_line,
    mean_line,
    paired_line,
    prompt_line,
    replicate_line,
    reuse_lines,
    sampling_line,
    unsafe_lines,
)
from tracker.cli import print_json
from tracker.cli.bench_output import metric_lines
from tracker.cli.bench_speed import print_speed
from tracker.cli.tables import cell, console, count, moment, print_table, warn_of_missing
from tracker.foreign_text import indented, one_line
from tracker.memory_estimate import memory_text
from tracker.records.origins import origin_note
from tracker.settings import load_settings

Row = dict[str, Any]


def show(model: str, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Show one model, and its runs with scores, cost and failures, newest first.

    Parameters
    ----------
    model
        A model measured here, as listed by `tracker models`, its folder, or `demo`; append `@revision` to
        select one revision.
    json
        Print one JSON document: `model_id`, `revisions`, `abilities`, `runs`, `speeds`, `missing_parts`;
        a run has `scores`, each with `n_items_on_disk`, and `metrics`, a speed `levels`.
    """
    found = read_model(model, load_settings())
    warn_of_missing(found.missing)
    if json:
        print_json(found.plain_document())
    else:
        _print(console(), found)


def _print(out: Console, found: ModelRecord) -> None:
    out.print(Text(one_line(found.model_id), style="bold"))
    for row in found.revisions:
        facts = [f"revision {row['revision']}", f"{count(row['n_params'])} parameters"]
        facts.append(f"license {row['license'] or 'unknown'}")
        if row["quantization"]:
            facts.append(f"published in {row['quantization']}")
        if row["needs_remote_code"]:
            facts.append("runs code from its repository")
        if row["path"]:
            facts.append(row["path"])
        out.print(Text(one_line(" · ".join(facts)), style="dim"))
    for one in found.abilities:
        out.print(Text(one_line(ability_line(one.document()))))
    for speed in found.speeds:
        out.print()
        print_speed(out, speed)
    for run in found.runs:
        out.print()
        _print_run(out, run)


def _print_run(out: Console, run: Row) -> None:
    title = f"{run['suite']} v{run['suite_version']} · {run['status']} · {moment(run['started_at'])}"
    out.print(Text(one_line(title), style="bold"))
    if note := origin_note(run):
        out.print(Text(one_line(note)))
    if run["reason"] or run["detail"]:
        reason = ": ".join(part for part in (run["reason"], run["detail"]) if part)
        out.print(Text(indented(reason)))
    scores = [score for score in run["scores"] if score["group"] is None]
    if scores:
        print_table(_score_table(scores), least=("metric", "truncated", "chance"), on=out)
    for line in filter(None, _lines_on_scores(run, scores)):
        out.print(Text(one_line(line)))
    out.print(Text(one_line(_cost(run)), style="dim"))
    if run["repeatability"]:
        out.print(Text(one_line(repeatability_line(run["repeatability"])), style="dim"))
    for line in _lines_on_ends(run):
        out.print(Text(one_line(line)))
    for line in (prompt_line(run["prompts"]), *reuse_lines(run["reused"])):
        out.print(Text(one_line(line), style="dim"))
    for warning in run["warnings"][bool(run["origin"]) :]:  # the first one of an imported run is its origin
        out.print(Text(one_line(f"warning: {warning}")))


def _lines_on_scores(run: Row, scores: list[Row]) -> Iterator[str | None]:
    yield from map(completed_line, scores)
    yield sampling_line(
        run["sampling"], run["sampling_values"] or {}, run["repeats"], run["max_output_tokens"]
    )
    yield replicate_line(run["replicate"])
    yield from unsafe_lines(run["metrics"])
    grouped = {score["task"] for score in run["scores"] if score["group"] is not None}
    yield from metric_lines(run["metrics"], grouped=grouped)


def _lines_on_ends(run: Row) -> Iterator[str]:
    """What the run was stopped on."""
    if run["suite_mean"]:
        yield mean_line(run["suite_mean"])
    yield from map(paired_line, run["against"])


def _score_table(scores: list[Row]) -> Table:
    table = Table(header_style="bold")
    for name in ("task", "metric", "score", "95% interval", "chance", "items", "truncated"):
        table.add_column(name, justify="left" if name in {"task", "metric"} else "right")
    for score in scores:
        low, high = score["ci_low"], score["ci_high"]
        table.add_row(
            cell(score["task"]),
            cell(score["metric"]),
            f"{score['value']:.1%}",
            "–" if low is None or high is None else f"{low:.1%} – {high:.1%}",
            f"{score['chance']:.1%}",
            _items(score),
            f"{score['truncated_fraction']:.0%}",
        )
    return table


def _items(score: Row) -> str:
    """The items of a score; where some can no longer be read, how many can."""
    if score["n_items_on_disk"] < score["n_items"]:
        return f"{score['n_items']:,} ({score['n_items_on_disk']:,} on disk)"
    return f"{score['n_items']:,}"


def _cost(run: Row) -> str:
    parts = [f"run {run['run_id']}", f"{run['engine']} {run['engine_version'] or ''}".strip()]
    parts += [run[name] for name in ("device", "dtype", "quantization") if run[name]]
    parts.append(f"{run['n_items']:,} items ({run['n_reused_items']:,} reused)")
    if run["duration_s"] or not run["origin"]:  # many a file does not say how long it took
        parts.append(f"{run['duration_s']:,.1f} s")
    if run["tokens_per_s"]:
        place = f"{run['device'] or 'an unknown device'}{by_workers(run['n_workers'])}"
        parts.append(f"{run['tokens_per_s']:,.0f} output tokens/s on {place}")
    if run["peak_memory_bytes"]:
        predicted = run["predicted_memory_bytes"]
        beside = f" (predicted {predicted / 1e9:.1f} GB)" if predicted is not None else ""
        parts.append(f"{memory_text(run)}{beside}")
    if run["energy_j"]:
        parts.append(f"{run['energy_j'] / 3600:.1f} Wh")
    return " · ".join(parts)
