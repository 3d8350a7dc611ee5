"""`tracker ladder MODEL [COPY …]`: what each copy of a model loses on the same items, and what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_ENGINE, EngineFlags
from tracker.cli.help import BUDGET, ENGINE, OUTPUT, TASKS, JsonDocument
from tracker.cli.tables import cell, console, print_table, warn_of_missing
from tracker.errors import UsageError
from tracker.settings import load_settings

if TYPE_CHECKING:
    from tracker.answers.ladder import LadderResult
    from tracker.ladder.run import LadderRequest


def ladder(
    model: str,
    /,
    *copies: str,
    rung: tuple[str, ...] = (),
    suite: Annotated[str | None, Parameter(group=TASKS)] = None,
    task: Annotated[tuple[str, ...], Parameter(group=TASKS)] = (),
    include_path: Annotated[Path | None, Parameter(group=TASKS)] = None,
    engine: EngineFlags = DEFAULT_ENGINE,
    executor: Annotated[str | None, Parameter(group=ENGINE)] = None,
    precision: Annotated[float, Parameter(group=BUDGET)] = 1.0,
    limit: Annotated[int | None, Parameter(group=BUDGET)] = None,
    minutes: Annotated[float | None, Parameter(group=BUDGET)] = None,
    show: Annotated[bool, Parameter(group=OUTPUT)] = False,
    markdown: Annotated[bool, Parameter(group=OUTPUT)] = False,
    as_json: JsonDocument = False,
) -> None:
    """Measure a model and its copies on the same items: what each loses, with paired intervals.

    The copies of a model are its quantized versions, or the model itself with other settings. Repeating the
    same command resumes it; items already answered are reused.

    Parameters
    ----------
    model
        The model that the others are compared with, as for `tracker bench`.
    copies
        Its copies; default: the quantized ones that `tracker ingest` has seen and that fit.
    rung
        One more rung, repeatable: settings of the engine in which it differs from MODEL, such as
        `dtype=bfloat16`, a copy, or a copy with settings: `org/name-AWQ,max-model-len=4096`.
    suite
        Suite (see `tracker suites`) or TOML file; default: as for `tracker bench`.
    task
        Task of lm-eval or from `--include-path`, instead of a suite; repeatable.
    include_path
        Folder with your own task YAML files.
    executor
        Where the jobs run: local, ray, slurm, the name of an installed executor, or
        `package.module:Class`; default: TRACKER_EXECUTOR, else local.
    precision
        Stop a rung once its difference is known to ±N percentage points.
    limit
        Ask at most N items of each task.
    minutes
        Stop after N minutes; the differences so far remain valid.
    show
        Print the newest ladder of MODEL without measuring.
    markdown
        Print it as a table for a model card.
    as_json
        Print one JSON document: `model_id`, `reference`, `suite`, `command`, `missing_parts`, `rungs`; each
        has `loss`, `tasks`, `divergence`, `shift` and `cost`.
    """
    from tracker.ladder.run import LadderRequest, precision_of

    if as_json and markdown:
        raise UsageError("`--json` cannot be combined with `--markdown`", hint="choose one of them")
    if show and (copies or rung or task):
        raise UsageError(
            "`--show` measures nothing, so it takes neither copies nor `--rung` nor `--task`",
            hint=f"`tracker ladder {model} --show`, with `--suite` if there are several",
        )
    request = LadderRequest(
        model=model,
        engine=engine.settings(),
        copies=copies,
        rungs=rung,
        suite=suite,
        tasks=task,
        include_path=include_path,
        precision=precision_of(precision),
        limit=limit,
        minutes=minutes,
        executor=executor,
    )
    _tell(_stored(request) if show else _measured(request), as_json=as_json, markdown=markdown)


def _stored(request: LadderRequest) -> LadderResult:
    from tracker.answers.ladder import ladder_of

    return ladder_of(request.model, load_settings(), suite=request.suite)


def _measured(request: LadderRequest) -> LadderResult:
    from tracker.cli.progress import BenchProgress, progress_console
    from tracker.foreign_text import one_line
    from tracker.ladder.run import ladder as measure_ladder

    out = progress_console()

    def tell(line: str) -> None:
        out.print(one_line(line), markup=False, highlight=False, soft_wrap=True)

    with BenchProgress(out) as progress:
        return measure_ladder(request, load_settings(), progress.show, tell=tell)


def _tell(found: LadderResult, *, as_json: bool, markdown: bool) -> None:
    from tracker.answers.ladder import ladder_document
    from tracker.answers.ladder_formats import ladder_markdown

    warn_of_missing(found.missing)
    if as_json:
        print_json(ladder_document(found))
    elif markdown:
        print(ladder_markdown(found))
    else:
        _print(found)


def _print(found: LadderResult) -> None:
    from rich.table import Table
    from rich.text import Text

    from tracker.answers.ladder_formats import (
        HEADERS,
        divergence_line,
        ladder_notes,
        ladder_title,
        rung_cells,
        task_lines,
    )
    from tracker.foreign_text import one_line

    out = console()
    out.print(Text(one_line(ladder_title(found))))
    table = Table(*HEADERS)
    for rung in found.rungs:
        table.add_row(*map(cell, rung_cells(rung, found)))
    print_table(table, least=("device", "tokens/s", "memory", "cut off / empty", "items"), on=out)
    lines = ladder_notes(found)
    for rung in found.rungs:
        lines += [*task_lines(rung), divergence_line(rung)]
    for line in filter(None, (*lines, *found.problems)):
        out.print(Text(one_line(line)), soft_wrap=True)
