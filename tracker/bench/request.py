"""What a bench is asked: the request, its suites, and the flags that are numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runners.engines import is_served
from runners.executors import EXECUTORS
from runners.harness.events import Event
from runners.models.hub import has_data_set
from runners.models.resolve import DEMO
from tracker.bench.workers import Workers, check_shareable, worker_count
from tracker.errors import FieldError, TrackerError, UnknownNameError, UsageError
from tracker.records import (
    MOST_ITEMS,
    MOST_OUTPUT_TOKENS,
    MOST_REPEATS,
    MOST_REPLICATES,
    SAMPLING,
    EngineSettings,
    Suite,
    Task,
    is_count,
)
from tracker.suites import LOOSE, get_suite

PLACING_SUITE = "place"  # by default, where its data sets can be had
OFFLINE_SUITE = "quick"  # by default elsewhere, and for the embedded model
FIRST_DATA_SET = "cais/mmlu"  # of the suite that places
MOST_HALF_WIDTH = 50.0  # percentage points: an interval that is as wide as the scale
MOST_DIGITS = len(str(MOST_OUTPUT_TOKENS))
UNTIL_MEAN = "--until-mean"
PROTOCOL = (
    "num_fewshot",
    "metric",
    "filter",
    "chat",
    "system",
)  # of tasks: fields of `Task` and of a request


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """A model and the suites, tasks and limits to measure it with."""

    model: str  # "org/name[@revision]", a local folder, or "demo"
    engine: EngineSettings
    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    include_path: Path | None = None
    num_fewshot: int | None = None  # these five of the tasks, not of suites, whose protocol is fixed
    metric: str | None = None
    filter: str | None = None
    chat: bool | None = None
    system: str | None = None
    sampling: str | None = None  # one of `SAMPLING`; None: as the suite says
    repeats: int | None = None  # None: as the suite says
    thinking_budgets: tuple[int, ...] = ()  # tokens of each written answer, one run for each; empty: as is
    limit: int | None = None
    until_half_width: float | None = None
    until_mean_half_width: float | None = None
    until_better_than: str | None = None  # a model measured here, as people name it
    replicate: int = 1  # of 2 and more every item is asked again
    minutes: float | None = None
    executor: str | None = None  # None: that of the settings
    data_parallel: Workers = 1  # workers that share the job

    def __post_init__(self) -> None:
        """Refuse a blank model name, a limit that is not positive, and task files without a task."""
        if not self.model or self.model != self.model.strip():
            raise TrackerError(
                f"`{self.model}` is not a model name: it is empty or has spaces around it",
                hint="use `org/name`, a folder, or `demo`",
            )
        for field, value, example in (("limit", self.limit, 100), ("minutes", self.minutes, 30)):
            if value is not None and not 0 < value < math.inf:
                raise FieldError(field, f"must be more than 0, got {value:g}", example=example)
        if self.include_path is not None and not self.tasks:
            raise UsageError(
                "`--include-path` needs `--task`", hint="name one of its tasks with `--task NAME`"
            )
        for field in PROTOCOL:
            if getattr(self, field) is not None and (not self.tasks or self.suites):
                flag = f"--{field.replace('_', '-')}"
                raise UsageError(
                    f"`{flag}` applies only to `--task`; the protocol of a suite is fixed",
                    hint=f"name the task: `--task NAME {flag} …`, without `--suite`",
                )
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise FieldError("num_fewshot", f"must be 0 or more, got {self.num_fewshot}", example=5)
        if self.num_fewshot is not None:
            _check_count("num_fewshot", self.num_fewshot, least=0, most=MOST_ITEMS, example=5)
        if self.sampling is not None and self.sampling not in SAMPLING:
            raise UnknownNameError("sampling", self.sampling, known=SAMPLING)
        if self.limit is not None:
            _check_count("limit", self.limit, most=MOST_ITEMS, example=100)
        if self.repeats is not None:
            _check_count("repeats", self.repeats, most=MOST_REPEATS, example=4)
        _check_count("replicate", self.replicate, most=MOST_REPLICATES, example=2)
        for budget in self.thinking_budgets:
            _check_count("thinking_budget", budget, most=MOST_OUTPUT_TOKENS, example=4096)
        check_until(self.repeats or 1, self.until_half_width)
        check_reference(self, self.repeats or 1)
        check_mean(self, self.repeats or 1)
        _check_workers(self)


def _check_workers(request: BenchRequest) -> None:
    if request.executor is not None:
        EXECUTORS.place(request.executor)  # a wrong name costs nothing
    worker_count(request.data_parallel)
    check_shareable(request.engine, request.data_parallel, in_turn=in_turn(request))


def in_turn(request: BenchRequest) -> str | None:
    """The option by which each answer decides what is asked next; None: there is none."""
    if request.until_better_than is not None:
        return "--until-better-than"
    return None if request.until_mean_half_width is None else UNTIL_MEAN


def _check_count(field: str, value: object, *, least: int = 1, most: int, example: object) -> None:
    if not is_count(value, least=least, most=most):
        problem = f"must be a whole number from {least:,} to {most:,}, got {value!r}"
        raise FieldError(field, problem, example=example)


def check_reference(request: BenchRequest, repeats: int) -> None:
    """Refuse what cannot go with a reference.

    Raises:
        UsageError: the precision of the score, or repeats, are asked for as well.
    """
    if request.until_better_than is None:
        return
    if request.until_half_width is not None:
        raise UsageError("`--until-better-than` cannot be combined with `--until`", hint="choose one of them")
    if repeats > 1:
        raise UsageError(
            "`--until-better-than` cannot be combined with repeats, which are no independent items",
            hint="`--repeats 1`, or measure all and use `tracker compare`",
        )


def check_until(repeats: int, until_half_width: float | None) -> None:
    """Refuse repeats of questions that are drawn until an interval is narrow.

    Raises:
        UsageError: both are asked for.
    """
    if repeats > 1 and until_half_width is not None:
        raise UsageError(
            "`--repeats` cannot be combined with `--until`, which draws single questions",
            hint="limit the questions with `--limit N`, or the time with `--minutes N`",
        )


def check_mean(request: BenchRequest, repeats: int) -> None:
    """Refuse what cannot go with a mean of all tasks that ends the run.

    Raises:
        UsageError: another rule, a sample of the items, or repeats are asked for as well.
    """
    if request.until_mean_half_width is None:
        return
    others = {
        "--until": request.until_half_width,
        "--until-better-than": request.until_better_than,
        "--limit": request.limit,
    }
    for flag, value in others.items():
        if value is not None:
            hint = "choose one of them" if flag != "--limit" else "it draws as few items as it needs from all"
            raise UsageError(f"`{UNTIL_MEAN}` cannot be combined with `{flag}`", hint=hint)
    if repeats > 1:
        raise UsageError(
            f"`{UNTIL_MEAN}` cannot be combined with repeats, which are no independent items",
            hint="`--repeats 1`, or limit the questions with `--limit N`",
        )


def check_mean_of(suite: Suite) -> None:
    """Refuse a suite whose tasks have no mean that is fixed before the first answer.

    Raises:
        UsageError: its tasks are chosen by scores, or it asks a sample of them.
    """
    names = ", ".join(f"`{task.task}`" for task in suite.tasks if task.when)
    hint = "name a suite that always asks the same: `--suite anchor-small`; or use `--until N` for each task"
    if names:
        message = f"`{UNTIL_MEAN}`: whether suite `{suite.name}` asks {names} depends on scores"
        raise UsageError(f"{message}, so that its mean is not fixed", hint=hint)
    if suite.sample is not None:
        message = f"`{UNTIL_MEAN}`: suite `{suite.name}` asks a sample of {suite.sample:,} items of each task"
        raise UsageError(f"{message}, and the mean is one of all items", hint=hint)


def half_width(until: float | None, *, field: str = "until") -> float | None:
    """`--until` or `--until-mean`, which are in percentage points, as a fraction of 1.

    Raises:
        FieldError: it is out of range.
    """
    if until is not None and not 0 < until < MOST_HALF_WIDTH:
        raise FieldError(field, f"must be between 0 and 50 percentage points, got {until:g}", example=1.5)
    return None if until is None else until / 100


def suites_of(request: BenchRequest, *, own: Path | None = None) -> tuple[Suite, ...]:
    """The requested suites; separate tasks form a suite called `tasks`.

    Raises:
        UnknownNameError: there is no such suite.
        TrackerError: the include path is not a folder.
    """
    if request.include_path is not None and not request.include_path.is_dir():
        raise TrackerError(
            f"`{request.include_path}` is not a folder",
            hint="`--include-path` takes a folder of task YAML files",
        )
    names = request.suites or (() if request.tasks else (OFFLINE_SUITE,))
    suites = tuple(get_suite(name, own=own) for name in dict.fromkeys(names))
    if not request.tasks:
        return suites
    protocol = {field: getattr(request, field) for field in PROTOCOL}
    tasks = tuple(Task(task=name, **protocol) for name in dict.fromkeys(request.tasks))
    include = str(request.include_path.resolve()) if request.include_path else None
    loose = Suite(name=LOOSE, version=1, description="Tasks given by `--task`", tasks=tasks, chat=True)
    return (*suites, replace(loose, include_path=include))


def with_suite(request: BenchRequest, on_event: Callable[[Event], None]) -> BenchRequest:
    """The request with the default suite if it names neither suite nor task.

    That is the one that places the model on the index; offline and for `demo`, the one without data sets, and
    for a server, the one that needs no log-probabilities of the prompt, which few servers give.
    """
    if request.suites or request.tasks:
        return request
    if request.model == DEMO:
        return replace(request, suites=(OFFLINE_SUITE,))
    if request.engine.base_url is not None or is_served(request.engine.engine):
        reason = (
            f"for a server that gives prompt log-probabilities, such as vLLM, add `--suite {PLACING_SUITE}`"
        )
    elif has_data_set(FIRST_DATA_SET):
        return replace(request, suites=(PLACING_SUITE,))
    else:
        reason = f"the data sets of `{PLACING_SUITE}` cannot be reached"
    message = f"suite `{OFFLINE_SUITE}`, which gives no place on the index: {reason}"
    on_event(Event("warning", message=message))
    return replace(request, suites=(OFFLINE_SUITE,))


def token_budgets(text: str | None) -> tuple[int, ...]:
    """The budgets in a text such as `1k,4k,16k`, where k is 1,024 tokens.

    Raises:
        FieldError: one of them is no such number.
    """
    found = []
    for word in (text or "").split(",") if text is not None else ():
        number, thousands = (
            (word.strip()[:-1], 1024) if word.strip().lower().endswith("k") else (word.strip(), 1)
        )
        is_number = number.isascii() and number.isdecimal()
        n_tokens = int(number[-MOST_DIGITS:]) * thousands if is_number else 0
        if len(number.lstrip("0")) > MOST_DIGITS or not is_count(n_tokens, most=MOST_OUTPUT_TOKENS):
            problem = f"must be numbers of tokens from 1 to {MOST_OUTPUT_TOKENS:,}, got `{text}`"
            raise FieldError("thinking_budget", problem, example="1k,4k,16k")
        found.append(n_tokens)
    return tuple(dict.fromkeys(found))
