"""Score programs that a model wrote: lm-eval's `code_eval`, with every program in a sandbox.

Covered: tasks whose own code scores with `evaluate.load("code_eval")`, such as HumanEval and MBPP. A program
has no network, sees no file of the user, and cannot reach the tests or the verdict (see `code_judge`).
Not covered: tasks that execute an answer by other means, and packages besides numpy.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from runners.sandbox.limits import Limits
from runners.sandbox.run import (
    BUBBLEWRAP_HINT,
    EndStatus,
    Sandbox,
    SandboxSpec,
    make_readable,
    probe,
    remove_tree,
)
from tracker.errors import TrackerError
from tracker.interpreter import python_command

CODE_EVAL = "code_eval"
JUDGE = Path(__file__).with_name("code_judge.py")
PLACE = "tracker-code-"  # how the temporary folder of a program begins
PLACE_AGE_S = 60.0  # a younger one may just be made, and not be locked yet
TIMEOUT_S = 3.0  # of computing time; `code_eval` gives as many seconds of wall time
START_S = 2.0  # of computing time, for two interpreters and numpy on a slow machine
WALL_FACTOR = 10.0  # a busy machine fails no program
MEMORY_BYTES = 2**30
FILE_BYTES = 2**20
N_PROCESSES = 32
PACKAGES = ("numpy",)  # which the tests of HumanEval+ import
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
NEEDS_BUBBLEWRAP = "scoring it runs programs that the model wrote, which needs bubblewrap"


class CodeEval:
    """The metric `code_eval` of the package `evaluate`: the share of programs that pass their tests."""

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        num_workers: int | None = None,
        timeout: float = TIMEOUT_S,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """`pass@k` for every `k` for which there are enough programs, and the result of each program.

        Raises:
            TrackerError: there is no bubblewrap, or it cannot be started.
        """
        places = [(task, number) for task, each in enumerate(predictions) for number in range(len(each))]
        workers = min(num_workers or os.cpu_count() or 1, max(1, len(places)))

        def run(place: tuple[int, int]) -> str:
            task, number = place
            return run_program(predictions[task][number], references[task], timeout_s=timeout)

        with ThreadPoolExecutor(workers) as pool:  # each waits for its own sandbox in one thread
            results = dict(zip(places, pool.map(run, places), strict=True))
        told: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for (task, number), problem in results.items():
            result: dict[str, Any] = {"task_id": task, "completion_id": number, "passed": not problem}
            result["result"] = problem or "passed"
            told.setdefault(task, []).append((number, result))
        counts = [(len(each), sum(result["passed"] for _, result in each)) for each in told.values()]
        scores = {
            f"pass@{n}": float(np.mean([pass_at(n, n_total=total, n_right=right) for total, right in counts]))
            for n in ([k] if isinstance(k, int) else k)
            if counts and min(total for total, _ in counts) >= n
        }
        return scores, told


def pass_at(k: int, *, n_total: int, n_right: int) -> float:
    """The probability that one of `k` programs passes if `n_right` of `n_total` do.

    The unbiased estimate of Chen et al., 2021 (arXiv:2107.03374, §2.1).
    """
    if n_total - n_right < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n_total - n_right + 1, n_total + 1)))


def run_program(program: str, tests: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Why the program fails its tests; empty if it passes.

    Raises:
        TrackerError: there is no bubblewrap, or it cannot be started.
    """
    with _place() as folder:
        return _run_in(folder, program, tests, timeout_s)


@contextmanager
def _place() -> Iterator[Path]:
    """A temporary folder for one program; our lock on it says that it is in use."""
    _remove_old_places()
    folder = Path(tempfile.mkdtemp(prefix=PLACE))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        remove_tree(folder)
        os.close(lock)


@lru_cache(maxsize=1)
def _remove_old_places() -> None:
    """Delete what a killed process left behind: it holds the tests; done once per process."""
    with tempfile.TemporaryFile() as fresh:
        began_s = os.fstat(fresh.fileno()).st_mtime  # by the clock of the file system
    for folder in Path(tempfile.gettempdir()).glob(f"{PLACE}*"):
        with suppress(OSError):  # in use, or of another user
            status = folder.lstat()
            if status.st_uid != os.getuid() or began_s - status.st_mtime < PLACE_AGE_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            finally:
                os.close(lock)


def _run_in(folder: Path, program: str, tests: str, timeout_s: float) -> str:
    """Why the program fails its tests, with its files in the folder; empty if it passes."""
    nonce = secrets.token_hex(16)
    out, judge = folder / "out", folder / "judge.py"
    out.mkdir()
    job = out / "job.json"
    job.write_text(json.dumps({"program": program, "tests": tests, "nonce": nonce}))
    judge.write_bytes(JUDGE.read_bytes())  # the installed one may be for its owner alone
    make_readable([job, judge])
    sandbox = trusted_sandbox()
    spec = SandboxSpec(
        {"judge.py": judge},
        out,
        Limits(
            cpu_s=timeout_s + START_S,
            wall_s=WALL_FACTOR * (timeout_s + START_S),
            memory_bytes=MEMORY_BYTES,
            file_bytes=FILE_BYTES,
            n_processes=N_PROCESSES,
        ),
        ENVIRONMENT,
        packages=PACKAGES,
        runs_programs=True,
    )
    inside = sandbox.inside("judge.py", judge)
    end = sandbox.run(python_command(inside, f"{sandbox.inside_out(out)}/job.json"), spec)
    if end.status is not EndStatus.ENDED:
        return end.status.value.replace("_", " ")
    return _problem(end.stdout_tail, nonce)


def _problem(said: str, nonce: str) -> str:
    """What the judge's last line says went wrong; without such a line, that there is no verdict."""
    verdict: Any = None
    if lines := said.strip().splitlines():
        try:
            verdict = json.loads(lines[-1])
        except (ValueError, RecursionError):
            verdict = None
    if not isinstance(verdict, dict) or verdict.get("nonce") != nonce:
        return "no verdict: the program ended its judge"
    return "" if verdict["passed"] is True else str(verdict["error"]) or "failed"


def trusted_sandbox() -> Sandbox:
    """The sandbox, if it is bubblewrap.

    Raises:
        TrackerError: it does not work here.
    """
    found = probe()
    if not found.is_trusted:
        why = found.why or "; ".join(found.lacks)
        raise TrackerError(f"{NEEDS_BUBBLEWRAP}: {why}", hint=BUBBLEWRAP_HINT)
    return found


def require_sandbox() -> None:
    """Check that programs can be scored here.

    Raises:
        TrackerError: there is no bubblewrap, or programs cannot be run in it.
    """
    trusted_sandbox()
    if problem := _trial():
        raise TrackerError(f"{NEEDS_BUBBLEWRAP}, but a right program failed in it: {problem}")


@lru_cache(maxsize=1)
def _trial() -> str:
    """Why a program fails that is right; tried once per process."""
    return run_program("def double(x):\n    return 2 * x\n", "assert double(2) == 4")


def forbid_code_eval() -> None:
    """Let the original `code_eval` of this process refuse to run a program."""
    os.environ.pop("HF_ALLOW_CODE_EVAL", None)


def use_sandbox() -> None:
    """Let `evaluate.load("code_eval")` of this process give ours, whoever calls it."""
    import evaluate

    original = evaluate.load
    if getattr(original, "gives_sandbox", False):
        return

    def load(path: str, *args: Any, **more: Any) -> Any:
        return CodeEval() if Path(path).name == CODE_EVAL else original(path, *args, **more)

    load.gives_sandbox = True  # type: ignore[attr-defined]
    evaluate.load = load


def is_scored_in_sandbox(functions: Iterable[Callable[..., Any]]) -> bool:
    """Whether one of a task's own functions scores with `code_eval`."""
    known = (value for function in functions for value in getattr(function, "__globals__", {}).values())
    return any(isinstance(getattr(value, "__self__", value), CodeEval) for value in known)
