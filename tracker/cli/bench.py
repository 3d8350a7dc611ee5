"""`tracker bench MODEL`: measure one model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tracker.bench import BenchRequest
from tracker.bench import bench as run_bench
from tracker.cli import print_json
from tracker.cli.progress import BenchProgress
from tracker.errors import TrackerError
from tracker.records import EngineSettings, Run, RunStatus, TaskScore
from tracker.settings import load_settings

MIN_PERCENT, MAX_PERCENT = 0.0, 50.0  # of `--until`


def bench(
    model: str,
    *,
    suite: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    task: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    include_path: Path | None = None,
    limit: int | None = None,
    engine: str = "auto",
    base_url: str | None = None,
    dtype: str = "auto",
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    tensor_parallel_size: int = 1,
    quantization: str | None = None,
    thinking: bool | None = None,
    trust_remote_code: Annotated[bool, Parameter(negative="")] = False,
    until: float | None = None,
    minutes: float | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure one model: check that it fits, run it, keep every answer, print the scores.

    Repeating the same command resumes it: what is already measured is not asked again.

    Parameters
    ----------
    model
        A Hub id (`org/name[@revision]`), a local folder of safetensors, or `demo`.
    suite
        A suite (`tracker suites` lists them); may be given several times. Default: quick.
    task
        Any task of lm-eval, or of `--include-path`; may be given several times.
    include_path
        A folder with task YAMLs of your own.
    limit
        Ask only the first N items of each task.
    engine
        auto, vllm, transformers, server, or `package.module:Class`.
    base_url
        For `--engine server`: an OpenAI-compatible address, such as http://127.0.0.1:8000/v1.
    dtype
        auto, float32, bfloat16 or float16.
    max_model_len
        Longest context in tokens; default: what the model and the memory allow.
    max_num_seqs
        How many sequences at once; default: the engine's choice.
    tensor_parallel_size
        How many cards share the model.
    quantization
        Quantize on loading, such as fp8.
    thinking
        Switch the model's thinking on or off; default: as its chat template does.
    trust_remote_code
        Run the code that this one model's repository carries.
    until
        Stop a task when its 95 % interval is this narrow: the half width in percentage points.
    minutes
        Stop cleanly after this long; the scores so far are valid.
    json
        Print one JSON document.
    """
    if engine == "server" and base_url is None:
        raise TrackerError("`--engine server` needs `--base-url`", hint="--base-url http://127.0.0.1:8000/v1")
    request = BenchRequest(
        model=model,
        engine=EngineSettings(
            engine="server" if base_url and engine == "auto" else engine,
            dtype=dtype,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            tensor_parallel_size=tensor_parallel_size,
            quantization=quantization,
            base_url=base_url,
            trust_remote_code=trust_remote_code,
            thinking=thinking,
        ),
        suites=suite,
        tasks=task,
        include_path=include_path,
        limit=limit,
        until_half_width=_fraction(until),
        minutes=minutes,
    )
    console = Console(stderr=True)
    with BenchProgress(console) as progress:
        end = run_bench(request, load_settings(), progress.show)
    documents = [document(run) for run in end.runs]
    if json:
        print_json(documents[0] if len(documents) == 1 else {"runs": documents})
    else:
        for run in end.runs:
            print_run(Console(), run)
    if end.exit_code:
        for run in end.runs:
            if run.status in {RunStatus.FAILED, RunStatus.INTERRUPTED}:
                print(f"error: {run.suite}: {run.status}: {run.detail or run.reason}", file=sys.stderr)
        print(f"\nhint: {_end_hint(end.exit_code, str(end.log_path))}", file=sys.stderr)
        sys.exit(end.exit_code)


def document(run: Run) -> dict[str, Any]:
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
        "placement": None,
        "warnings": list(run.warnings),
    }


def _score_document(score: TaskScore) -> dict[str, Any]:
    names = (
        "task", "metric", "filter", "value", "stderr", "ci_low", "ci_high", "n_items", "n_total", "chance",
        "truncated_fraction", "unparsed_fraction", "group", "fingerprint",
    )  # fmt: skip
    return {name: getattr(score, name) for name in names}


def print_run(console: Console, run: Run) -> None:
    """Print the run for people: a table of scores, what it cost, what to know."""
    title = f"{run.model.model_id} · {run.suite} v{run.suite_version} · {run.status}"
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for name in ("task", "score", "95 % interval", "chance", "items", "cut off", "unparsed"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for score in run.scores:
        if score.group is None:
            table.add_row(*_score_row(score))
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{escape(title)}: no scores")
    console.print(escape(_cost_line(run)), style="dim", highlight=False)
    for warning in run.warnings:
        console.print(f"warning: {escape(warning)}", highlight=False)


def _score_row(score: TaskScore) -> tuple[str, ...]:
    interval = "–" if score.ci_low is None else f"{score.ci_low:.1%} – {score.ci_high:.1%}"
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


def _end_hint(exit_code: int, log_path: str) -> str:
    if exit_code == 130:
        return "repeat the command to go on where it stopped"
    if exit_code == 4:
        return "what was measured is kept; repeat the command when it is reachable again"
    return f"what was measured is kept; the worker's log: {log_path}"


def _fraction(until: float | None) -> float | None:
    """`--until` as a fraction; it is given in percentage points.

    Raises:
        TrackerError: it is out of range.
    """
    if until is None:
        return None
    if not MIN_PERCENT < until < MAX_PERCENT:
        raise TrackerError(
            f"--until {until:g}: the half width must be between 0 and 50 points", hint="--until 1.5"
        )
    return until / 100
