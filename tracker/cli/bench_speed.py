"""`tracker bench MODEL --speed`: print a measurement of speed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.answers.speed import seconds_text, speed_document, speed_lines, speed_of, speed_title
from tracker.cli import print_json, report
from tracker.cli.progress import progress_console
from tracker.cli.tables import cell, console
from tracker.foreign_text import one_line
from tracker.records import EngineSettings
from tracker.records.speed import SpeedLoad
from tracker.settings import load_settings


def bench_speed(
    model: str, engine: EngineSettings, load: SpeedLoad, *, minutes: float | None, as_json: bool
) -> None:
    """Measure and print; exits with the code of what went wrong."""
    from tracker.bench.speed import SpeedRequest, measure_speed

    settings, progress = load_settings(), progress_console()
    end = measure_speed(
        SpeedRequest(model, engine, load, minutes),
        settings,
        lambda event: progress.print(one_line(event.message), style="dim", markup=False, highlight=False),
    )
    run = speed_of(end.run.speed_id, settings)
    if as_json:
        print_json(speed_document(run))
    else:
        out = console()
        out.print(Text(one_line(run["model_id"]), style="bold"))
        print_speed(out, run)
    if end.error is not None:
        report(end.error, as_json=False)
        sys.exit(end.exit_code)


def print_speed(out: Console, run: Mapping[str, Any]) -> None:
    """Print one measurement: what it was, a row for each concurrency, and how it was measured."""
    out.print(Text(one_line(speed_title(run)), style="bold"))
    if run["levels"]:
        out.print(_level_table(run))
    for line in speed_lines(run):
        out.print(Text(one_line(line), style="dim"))


def _level_table(run: Mapping[str, Any]) -> Table:
    has_energy = any(level["joules_per_token"] is not None for level in run["levels"])
    table = Table(header_style="bold")
    columns = ["at once", "requests", "tokens/s", "first token", "95% interval", "per token", "p90", "whole"]
    columns += ["good/s", *(["J/token"] if has_energy else [])]
    for name in columns:
        table.add_column(name, justify="right")
    for level in run["levels"]:
        answered, asked = level["n_answered"], level["n_requests"]
        cells = [
            f"{level['concurrency']:,}",
            f"{asked:,}" if answered == asked else f"{answered:,} of {asked:,}",
            f"{level['output_tokens_per_s']:,.1f}",
            seconds_text(level["ttft_s"]),
            interval_text(level, "ttft"),
            seconds_text(level["tpot_s"]),
            seconds_text(level["tpot_p90_s"]),
            seconds_text(level["e2el_s"]),
            f"{level['goodput_per_s']:.3g}",
        ]
        if has_energy:
            energy = level["joules_per_token"]
            cells.append("–" if energy is None else f"{energy:.3g}")
        table.add_row(*(cell(one) for one in cells))
    return table


def interval_text(level: Mapping[str, Any], name: str) -> str:
    """The 95% interval of a median time; a dash where there are too few requests."""
    low, high = level[f"{name}_ci_low"], level[f"{name}_ci_high"]
    return "–" if low is None or high is None else f"{seconds_text(low)} – {seconds_text(high)}"
