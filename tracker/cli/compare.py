"""`tracker compare A B`: two models measured here, on the items that both answered."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.show import known_id
from tracker.cli.tables import console, printable
from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.store import open_snapshot

Row = dict[str, Any]
SIDES = ("first", "second")
SHORT = 8  # characters of a revision that tell it from a handful of others
POWER = 0.8  # of the smallest difference that the items would show


def compare(
    first: str,
    second: str,
    *,
    suite: str | None = None,
    task: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare two models measured here on the items that both answered; intervals are 95 % ones.

    Parameters
    ----------
    first
        A model measured here, as `tracker models` lists it, its folder, or `demo`.
    second
        The one to compare it with.
    suite
        Only this suite.
    task
        Only this task.
    as_json
        Print one JSON document: `first`, `second`, `tasks`; each task says which run of each was compared.
    """
    with open_snapshot(load_settings()) as snapshot:
        known = snapshot.query("models")
        a, b = known_id(first, known), known_id(second, known)
        if a == b:
            raise TrackerError(f"`{a}` cannot be compared with itself", hint="name two different models")
        rows = snapshot.query("paired_items", first=a, second=b, suite=suite, task=task)
        runs = {run["run_id"]: run for m in (a, b) for run in snapshot.query("model_runs", model_id=m)}
    if not rows:
        raise TrackerError(
            f"`{a}` and `{b}` have no item in common" + _limited(suite, task),
            hint="`tracker bench` both with the same suite",
        )
    parts = [list(group) for _, group in groupby(rows, key=_task_key)]
    tasks = [
        compared(part) | {f"{side}_run": _subject(runs[part[0][f"{side}_run_id"]]) for side in SIDES}
        for part in parts
    ]
    if as_json:
        print_json({"first": a, "second": b, "tasks": tasks})
    else:
        _print(a, b, tasks)


def compared(rows: list[Row]) -> Row:
    """One task's comparison: the difference first minus second with its interval, and how odd it is."""
    from tracker.stats import mcnemar, paired_difference, smallest_detectable_difference

    first = [float(row["first_score"]) for row in rows]
    second = [float(row["second_score"]) for row in rows]
    clusters = [row["cluster"] if row["cluster"] is not None else f"item {row['doc_id']}" for row in rows]
    has_clusters = len(set(clusters)) < len(rows)
    difference = paired_difference(first, second, clusters=clusters if has_clusters else None)
    is_binary = set(first) | set(second) <= {0.0, 1.0}
    test = mcnemar(first, second) if is_binary else None
    mean_a, mean_b = sum(first) / len(first), sum(second) / len(second)
    return {
        "suite": rows[0]["suite"],
        "task": rows[0]["task"],
        "metric": rows[0]["metric"],
        "filter": rows[0]["filter"],
        "n_items": len(rows),
        "n_clusters": len(set(clusters)) if has_clusters else None,
        "first_value": mean_a,
        "second_value": mean_b,
        "difference": difference.value,
        "stderr": difference.stderr,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "n_only_first": test.n_only_a if test else None,
        "n_only_second": test.n_only_b if test else None,
        "mcnemar_p": test.p_value if test else None,
        "smallest_detectable_difference": smallest_detectable_difference(
            len(rows),
            score=(mean_a + mean_b) / 2,
            correlation=_correlation(first, second),
            power=POWER,
        )
        if is_binary
        else None,
    }


def _subject(run: Row) -> Row:
    """Which run it was, and the settings that a difference may come from."""
    return {
        "run_id": run["run_id"],
        "revision": run["revision"],
        "engine": run["engine"],
        "dtype": run["dtype"],
        "quantization": run["quantization"] or run["model_quantization"],
    }


def _subject_lines(subjects: list[tuple[str, Row]]) -> list[str]:
    """Each setting that was compared, once, and in which suites if there are several."""
    suites: dict[str, list[str]] = {}
    for suite, subject in subjects:
        settings = [subject["engine"], subject["dtype"], subject["quantization"] or "as published"]
        revision = subject["revision"].rpartition(":")[2][:SHORT]
        line = " · ".join([*filter(None, settings), f"revision {revision}"])
        suites.setdefault(line, []).append(suite)
    if len(suites) == 1:
        return list(suites)
    return [f"{line} (in {', '.join(dict.fromkeys(names))})" for line, names in suites.items()]


def _task_key(row: Row) -> tuple[Any, ...]:
    return (row["suite"], row["suite_version"], row["task"])


def _limited(suite: str | None, task: str | None) -> str:
    parts = [f"suite `{suite}`"] if suite else []
    parts += [f"task `{task}`"] if task else []
    return " in " + ", ".join(parts) if parts else ""


def _correlation(first: list[float], second: list[float]) -> float:
    """Of the two models' items; 0 where one of them is always right or always wrong."""
    import numpy as np

    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


def _print(first: str, second: str, tasks: list[Row]) -> None:
    out = console()
    for side, model_id in zip(SIDES, (first, second), strict=True):
        for line in _subject_lines([(row["suite"], row[f"{side}_run"]) for row in tasks]):
            out.print(Text(printable(f"{side + ':':7} {model_id} · {line}")))
    table = Table(
        "suite", "task", "items", "first", "second", "difference", "95 % interval", "only first",
        "only second", "McNemar p", "detectable",
    )  # fmt: skip
    for row in tasks:
        table.add_row(
            printable(row["suite"]), printable(row["task"]), str(row["n_items"]),
            _percent(row["first_value"]), _percent(row["second_value"]),
            _percent(row["difference"], sign=True),
            f"{_percent(row['ci_low'], sign=True)} … {_percent(row['ci_high'], sign=True)}",
            _or_dash(row["n_only_first"]), _or_dash(row["n_only_second"]),
            "–" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}",
            _percent(row["smallest_detectable_difference"]),
        )  # fmt: skip
    out.print(table)


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)
