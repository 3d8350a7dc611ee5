"""`tracker bench MODEL`: measure one model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json, report
from tracker.errors import TrackerError, UsageError
from tracker.records import DTYPES, EngineSettings, RunStatus
from tracker.settings import Settings, load_settings

if TYPE_CHECKING:
    from runners.executors.local import JobEnd

HINTS = {  # one that works, for each flag that can be wrong by its value
    "dtype": f"known: {', '.join(DTYPES)}",
    "max_model_len": "--max-model-len 4096",
    "max_num_seqs": "--max-num-seqs 16",
    "tensor_parallel_size": "--tensor-parallel-size 2",
    "quantization": "--quantization fp8",
}
MIN_PERCENT, MAX_PERCENT = 0.0, 50.0  # of `--until`


def bench(
    model: str | None = None,
    /,
    *,
    queue: Annotated[bool, Parameter(negative="")] = False,
    max_gb: float | None = None,
    max_models: int | None = None,
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
    queue
        Instead of one model, those of `tracker queue`, within `--minutes` and `--max-gb`.
    max_gb
        With `--queue`: stop before downloading more than this.
    max_models
        With `--queue`: stop after so many models.
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
    from rich.console import Console

    from tracker.bench import BenchRequest
    from tracker.bench import bench as run_bench
    from tracker.cli.progress import BenchProgress

    with flags_named():
        engine_settings = EngineSettings(
            engine=engine_name(engine, base_url),
            dtype=dtype,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            tensor_parallel_size=tensor_parallel_size,
            quantization=quantization,
            base_url=base_url,
            trust_remote_code=trust_remote_code,
            thinking=thinking,
        )
    if queue:
        _refuse_beside_queue(model=model, task=task, limit=limit, until=until, code=trust_remote_code)
        from tracker.cli.bench_queue import bench_queue
        from tracker.working_off import Budget

        bench_queue(suite, engine_settings, Budget(minutes, max_gb, max_models), as_json=json)
        return
    if model is None:
        raise UsageError(
            "MODEL is missing", hint="`tracker bench demo`, `--queue`, or `tracker bench --help`"
        )
    request = BenchRequest(
        model=model,
        engine=engine_settings,
        suites=suite,
        tasks=task,
        include_path=include_path,
        limit=limit,
        until_half_width=_fraction(until),
        minutes=minutes,
    )
    settings = load_settings()
    with BenchProgress(Console(stderr=True)) as progress:
        end = run_bench(request, settings, progress.show)
    _print_end(end, settings, as_json=json)
    if end.exit_code:
        sys.exit(end.exit_code)


def _print_end(end: JobEnd, settings: Settings, *, as_json: bool) -> None:
    """Print the runs on stdout, and on stderr what went wrong."""
    from rich.console import Console

    from tracker.bench import Refusal
    from tracker.cli.bench_output import document, end_hint, print_run
    from tracker.placing import place_run

    placements = {run.run_id: place_run(run, settings) for run in end.runs if run.scores}
    if as_json:
        documents = [document(run, placements.get(run.run_id)) for run in end.runs]
        print_json(documents[0] if len(documents) == 1 else {"runs": documents})
    if isinstance(end, Refusal):
        report(end.error, as_json=False)
        return
    if not as_json:
        for run in end.runs:
            print_run(Console(), run, placements.get(run.run_id))
    if end.exit_code:
        for run in end.runs:
            if run.status in {RunStatus.FAILED, RunStatus.INTERRUPTED}:
                print(f"error: {run.suite}: {run.status}: {run.detail or run.reason}", file=sys.stderr)
        print(f"\nhint: {end_hint(end.exit_code, str(end.log_path))}", file=sys.stderr)


def engine_name(engine: str, base_url: str | None) -> str:
    """The engine that the two flags mean together.

    Raises:
        TrackerError: they do not go together.
    """
    if engine == "server" and base_url is None:
        raise TrackerError("`--engine server` needs `--base-url`", hint="--base-url http://127.0.0.1:8000/v1")
    if base_url is not None and engine not in {"server", "auto"}:
        raise TrackerError(f"`--base-url` is not for `--engine {engine}`", hint="--engine server")
    return "server" if base_url is not None else engine


@contextmanager
def flags_named() -> Iterator[None]:
    """What settings say of a field that is out of range, said of its flag.

    Raises:
        TrackerError: one of them is out of range.
    """
    try:
        yield
    except ValueError as error:
        name, _, what = str(error).partition(" ")
        raise TrackerError(f"`--{name.replace('_', '-')}` {what}", hint=HINTS.get(name, "")) from error


def _refuse_beside_queue(**given: object) -> None:
    """The queue says which model; what is for one model has no meaning beside it.

    Raises:
        TrackerError: something was given that `--queue` does not take.
    """
    names = {"model": "MODEL", "code": "--trust-remote-code"}
    wrong = [names.get(name, f"--{name}") for name, value in given.items() if value]
    if wrong:
        raise TrackerError(f"`--queue` takes no {wrong[0]}", hint="`tracker queue add MODEL` puts one first")


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
