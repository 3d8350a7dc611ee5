"""`tracker bench MODEL`: measure one model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json, report
from tracker.cli.flags import (
    DEFAULT_BUDGET,
    DEFAULT_ENGINE,
    DEFAULT_SPEED,
    BudgetFlags,
    EngineFlags,
    SpeedFlags,
)
from tracker.cli.help import BUDGET, ENGINE, QUEUE, TASKS, JsonFlag
from tracker.errors import TrackerError, UsageError
from tracker.records import RunStatus
from tracker.settings import Settings, load_settings

if TYPE_CHECKING:
    from runners.executors.jobs import JobEnd


def bench(
    model: str | None = None,
    /,
    *,
    suite: Annotated[tuple[str, ...], Parameter(group=TASKS)] = (),
    task: Annotated[tuple[str, ...], Parameter(group=TASKS)] = (),
    include_path: Annotated[Path | None, Parameter(group=TASKS)] = None,
    limit: Annotated[int | None, Parameter(group=TASKS)] = None,
    num_fewshot: Annotated[int | None, Parameter(group=TASKS)] = None,
    metric: Annotated[str | None, Parameter(group=TASKS)] = None,
    filter: Annotated[str | None, Parameter(group=TASKS)] = None,
    chat: Annotated[bool | None, Parameter(group=TASKS)] = None,
    system: Annotated[str | None, Parameter(group=TASKS)] = None,
    sampling: Annotated[str | None, Parameter(group=TASKS)] = None,
    repeats: Annotated[int | None, Parameter(group=TASKS)] = None,
    replicate: Annotated[int, Parameter(group=TASKS)] = 1,
    thinking_budget: Annotated[str | None, Parameter(group=TASKS)] = None,
    engine: EngineFlags = DEFAULT_ENGINE,
    executor: Annotated[str | None, Parameter(group=ENGINE)] = None,
    data_parallel: Annotated[str, Parameter(group=ENGINE)] = "1",
    until: Annotated[float | None, Parameter(group=BUDGET)] = None,
    until_mean: Annotated[float | None, Parameter(group=BUDGET)] = None,
    until_better_than: Annotated[str | None, Parameter(group=BUDGET)] = None,
    budget: BudgetFlags = DEFAULT_BUDGET,
    speed: SpeedFlags = DEFAULT_SPEED,
    queue: Annotated[bool, Parameter(group=QUEUE)] = False,
    json: JsonFlag = False,
) -> None:
    """Measure one model: check that it fits, run it, store every answer, print the scores.

    Repeating the same command resumes it; items already answered are reused.

    Parameters
    ----------
    model
        Hub id (`org/name[@revision]`), local folder, `demo`, or with `--base-url` the server's name for it.
    suite
        Suite (see `tracker suites`) or TOML file; repeatable; default: place; offline, for `demo` and for a
        server: quick.
    task
        Task of lm-eval or from `--include-path`; repeatable.
    include_path
        Folder with your own task YAML files.
    limit
        A random sample of N items of each task.
    num_fewshot
        Few-shot examples of a `--task`; default: as its file says.
    metric
        Metric that is the score of a `--task`; default: its first one between 0 and 1. All are shown.
    filter
        Filter whose answers are scored; default: the task's first.
    chat
        Send a `--task` through the model's chat template, or as plain text; default: through it if its
        answer is written, as plain text if choices or continuations are scored.
    system
        System message of a `--task`.
    sampling
        How the tokens of written answers are chosen: task, greedy, or model (as the model's own
        `generation_config.json` says, with seeds); default: as the suite says, else task.
    repeats
        Ask each question with a sampled answer K times; gives the mean with its interval, and
        pass^K with its standard error.
    replicate
        Measure the same once more: 2 asks every item a second time, whatever has been answered, in a run of
        its own, which tells how many items change their score and counts in no other answer.
    thinking_budget
        Tokens of each written answer with its thinking, such as 8k; several, such as 1k,4k,16k, are
        measured one after the other and compared.
    until
        Stop a task once its 95% interval is at most ±N percentage points.
    until_mean
        Stop a suite once the 95% interval of the mean of its tasks, each counted equally, is at most ±N
        percentage points; the next items are asked where they narrow it most for their tokens.
    until_better_than
        Stop a task once MODEL is better or worse than this model measured here, on the items that it
        has answered; the 95% interval of the difference holds whenever the task stops.
    queue
        Measure the models of `tracker queue` instead of one, as `tracker queue run` does.
    executor
        Where the job runs: local, ray, slurm, the name of an installed executor, or
        `package.module:Class`; default: TRACKER_EXECUTOR, else local.
    data_parallel
        Workers that share the job, each with a card of its own (with `--tensor-parallel-size`, several);
        auto: one for each card.
    """
    from tracker.bench.request import BenchRequest, half_width, token_budgets
    from tracker.bench.run import bench as run_bench
    from tracker.bench.workers import Where, worker_count
    from tracker.cli.progress import BenchProgress, progress_console

    if speed.given and not speed.speed:
        raise UsageError(
            f"`{speed.given[0]}` needs `--speed`", hint="`tracker bench MODEL --speed` measures speed"
        )
    if speed.speed:
        refuse_beside(
            "--speed",
            hint="`tracker bench MODEL --speed` measures speed, the same without it answers",
            suite=suite,
            task=task,
            include_path=include_path,
            limit=limit,
            num_fewshot=num_fewshot,
            metric=metric,
            filter=filter,
            chat=chat,
            system=system,
            sampling=sampling,
            repeats=repeats,
            replicate=None if replicate == 1 else replicate,
            thinking_budget=thinking_budget,
            until=until,
            until_mean=until_mean,
            until_better_than=until_better_than,
            executor=executor,
            data_parallel=None if data_parallel == "1" else data_parallel,
            queue=queue,
        )
        from tracker.cli.bench_speed import bench_speed

        bench_speed(_named(model), engine.settings(), speed.load(), minutes=budget.minutes, as_json=json)
        return
    if queue:
        refuse_beside(
            "--queue",
            hint="`tracker queue add MODEL` adds a model to the queue",
            model=model,
            task=task,
            limit=limit,
            num_fewshot=num_fewshot,
            metric=metric,
            filter=filter,
            chat=chat,
            system=system,
            sampling=sampling,
            repeats=repeats,
            replicate=None if replicate == 1 else replicate,
            thinking_budget=thinking_budget,
            until=until,
            until_mean=until_mean,
            until_better_than=until_better_than,
            code=engine.trust_remote_code,
        )
        from tracker.cli.bench_queue import bench_queue

        bench_queue(
            suite,
            engine.settings(),
            budget.budget(),
            where=Where(executor, worker_count(data_parallel)),
            as_json=json,
        )
        return
    model = _named(model)
    for flag, value in (("--max-gb", budget.max_gb), ("--max-models", budget.max_models)):
        if value is not None:
            raise TrackerError(
                f"`{flag}` applies to the queue, not to a single model", hint="use `tracker queue run`"
            )
    request = BenchRequest(
        model=model,
        engine=engine.settings(),
        suites=suite,
        tasks=task,
        include_path=include_path,
        limit=limit,
        num_fewshot=num_fewshot,
        metric=metric,
        filter=filter,
        chat=chat,
        system=system,
        sampling=sampling,
        repeats=repeats,
        replicate=replicate,
        thinking_budgets=token_budgets(thinking_budget),
        until_half_width=half_width(until),
        until_mean_half_width=half_width(until_mean, field="until_mean"),
        until_better_than=until_better_than,
        minutes=budget.minutes,
        executor=executor,
        data_parallel=worker_count(data_parallel),
    )
    settings = load_settings()
    with BenchProgress(progress_console()) as progress:
        end = run_bench(request, settings, progress.show)
    _print_end(end, settings, as_json=json)
    if end.exit_code:
        sys.exit(end.exit_code)


def _print_end(end: JobEnd, settings: Settings, *, as_json: bool) -> None:
    """Print the runs on stdout and errors on stderr."""
    from rich.console import Console

    from tracker.answers.placement import place_runs
    from tracker.answers.run_lines import reuse_lines
    from tracker.bench.run import Refusal
    from tracker.cli.bench_output import budget_rows, document, end_hint, print_budgets, print_run
    from tracker.cli.progress import progress_console
    from tracker.foreign_text import indented, one_line
    from tracker.serialization import dump

    placements = place_runs(end.runs, settings)
    if as_json:
        documents = [document(run, placements.get(run.run_id)) for run in end.runs]
        budgets = {"budgets": budget_rows(end.runs)} if budget_rows(end.runs) else {}
        print_json(documents[0] if len(documents) == 1 else {"runs": documents, **budgets})
    if isinstance(end, Refusal):
        report(end.error, as_json=False)
        return
    for run in end.runs:
        for note in reuse_lines([dump(one) for one in run.reused]):
            progress_console().print(one_line(note), markup=False, highlight=False, soft_wrap=True)
    if not as_json:
        for run in end.runs:
            print_run(Console(), run, placements.get(run.run_id))
        print_budgets(Console(), end.runs)
    if end.exit_code:
        for run in end.runs:
            if run.status in {RunStatus.FAILED, RunStatus.INTERRUPTED}:
                said = indented(f"{run.suite}: {run.status}: {run.detail or run.reason}")
                print(f"error: {said}", file=sys.stderr)
        print(f"\nhint: {end_hint(end.exit_code, str(end.log_path), end.runs)}", file=sys.stderr)


ZERO_OR_NO = ("chat", "num_fewshot")  # options that say something with `False` or 0


def _named(model: str | None) -> str:
    if model is None:
        raise UsageError(
            "MODEL is missing",
            hint="`tracker bench demo` measures the embedded model, `tracker queue run` the queued ones; "
            "`tracker bench --help` lists the options",
        )
    return model


def refuse_beside(flag: str, *, hint: str, **given: object) -> None:
    """Refuse options that mean nothing beside `flag`.

    Raises:
        TrackerError: one of them is given.
    """
    names = {"model": "MODEL", "code": "--trust-remote-code"}
    wrong = [
        names.get(name, f"--{name.replace('_', '-')}")
        for name, value in given.items()
        if value or (value is not None and name in ZERO_OR_NO)
    ]
    if wrong:
        raise UsageError(f"`{flag}` cannot be combined with `{wrong[0]}`", hint=hint)
