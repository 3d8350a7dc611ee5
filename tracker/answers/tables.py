"""Runs, items, studies and trials as the store has them, and any answer as a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracker.answers.models import known_id
from tracker.answers.options import choice
from tracker.errors import FieldError
from tracker.files.items import read_run as run_record
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.store import Answer, open_snapshot

if TYPE_CHECKING:
    import pandas as pd

ALL_ITEMS = 2**62  # the read of items gives a page unless told how many
ITEM_KINDS = ("right", "wrong", "unparsed", "truncated")
PAGING = ("place", "n_matching")  # columns of the read of items that only a page needs
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT")  # HUGEINT: a sum of integers, as DuckDB gives it to pandas


def read_runs(
    settings: Settings, *, model: str | None = None, suite: str | None = None, status: str | None = None
) -> Answer:
    """The runs, the newest first; those of one model, suite or status if given.

    Raises:
        UnknownNameError: there is no such model or status.
    """
    if status is not None:
        choice("status", status, RunStatus)
    with open_snapshot(settings) as snapshot:
        model_id = None if model is None else known_id(model, snapshot.query("models"))
        return snapshot.read("runs", model_id=model_id, suite=suite, status=status)


def read_run(settings: Settings, run_id: str) -> Run:
    """The record of a run, as its `run.json` has it.

    Raises:
        UnknownNameError: there is no such run.
    """
    with open_snapshot(settings) as snapshot:
        choice("run", run_id, [row["run_id"] for row in snapshot.query("runs")])
    return run_record(settings.items_path / run_id)


def read_items(
    settings: Settings,
    run_id: str,
    *,
    task: str | None = None,
    only: str | None = None,
    limit: int | None = None,
) -> Answer:
    """The items of a run in the order of its tasks; of one task, or those of one of `ITEM_KINDS`, if given.

    Raises:
        FieldError: `limit` is not positive.
        UnknownNameError: there is no such run, or no such task in it.
    """
    if only is not None:
        choice("choice of `only`", only, ITEM_KINDS)
    if limit is not None and limit < 1:
        raise FieldError("limit", f"must be at least 1, got {limit}", example=100)
    with open_snapshot(settings) as snapshot:
        choice("run", run_id, [row["run_id"] for row in snapshot.query("runs")])
        if task is not None:
            choice("task", task, [row["task"] for row in snapshot.query("run_scores", run_id=run_id)])
        found = snapshot.read(
            "items_page", run_id=run_id, task=task, only=only, limit=ALL_ITEMS if limit is None else limit
        )
    kept = [place for place, name in enumerate(found.columns) if name not in PAGING]
    return _columns(found, kept)


def read_studies(settings: Settings) -> Answer:
    """The studies of auto-research, the newest first, with what their trials amount to."""
    with open_snapshot(settings) as snapshot:
        return snapshot.read("studies")


def read_trials(settings: Settings, study_id: str) -> Answer:
    """The finished trials of a study, in their order.

    Raises:
        UnknownNameError: there is no such study.
    """
    with open_snapshot(settings) as snapshot:
        choice("study", study_id, [row["study_id"] for row in snapshot.query("studies")])
        return snapshot.read("trials", study_id=study_id)


def frame_of(answer: Answer) -> pd.DataFrame:
    """The answer as a frame whose types follow from the query alone, not from its rows.

    Integers and booleans are pandas' own types, which hold missing values; times are aware, in UTC; text,
    lists and objects are Python objects. `attrs` tell of an incomplete answer: `missing_parts`, `has_more`.
    """
    import pandas as pd

    columns = [
        pd.Series([row[place] for row in answer.rows], dtype=_dtype(kind), name=name)
        for place, (name, kind) in enumerate(zip(answer.columns, answer.kinds, strict=True))
    ]
    frame = pd.concat(columns, axis="columns") if columns else pd.DataFrame()
    if answer.missing:
        frame.attrs["missing_parts"] = answer.missing.n_parts
    if answer.has_more:
        frame.attrs["has_more"] = True
    return frame


def _dtype(kind: str) -> str:
    base = kind.partition("(")[0]
    if kind.endswith("]"):  # a list
        return "object"
    if base in INTEGERS:
        return "UInt64" if base == "UBIGINT" else "Int64"
    if base in FLOATS:
        return "float64"
    if base == "BOOLEAN":
        return "boolean"
    return "datetime64[us, UTC]" if base.startswith("TIMESTAMP") else "object"


def _columns(answer: Answer, places: Sequence[int]) -> Answer:
    def pick(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[place] for place in places)

    rows = [pick(row) for row in answer.rows]
    return replace(answer, columns=pick(answer.columns), rows=rows, kinds=pick(answer.kinds))
