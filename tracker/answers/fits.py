"""Models that fit a card: memory by context length, with the scores measured here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tracker.answers.documents import json_rows
from tracker.answers.index_places import index_places, with_index
from tracker.answers.leaderboard import (
    basis_of,
    choose_task,
    exported,
    memory_needed,
    number,
    read_board,
    with_labels,
)
from tracker.answers.measured_speed import (
    MeasuredSpeed,
    measured_speeds,
    speed_columns,
    speed_of_weights,
)
from tracker.answers.models import DEMO, MOST_GB
from tracker.errors import TrackerError
from tracker.frontier.pareto import undominated
from tracker.memory_estimate import GB, SHORT_CONTEXT
from tracker.records import EMBEDDED_MODEL_ID
from tracker.settings import Settings
from tracker.store import open_snapshot

KNOWN_MODELS = 5000  # of the Hub, the most downloaded first
CONTEXTS = (SHORT_CONTEXT, 8192, 32_768, 131_072)  # tokens
MEASURED, KNOWN = "measured here", "known from the Hub"
AUTO = "auto"  # the default precision, which needs no flag
THINKING = {True: " --thinking", False: " --no-thinking"}  # `vllm serve` leaves it to each request
HUB_FACTS = (
    "kind", "gated", "released_at", "revision", "downloads", "likes", "trending", "base_models",
    "needs_remote_code", "seen_at",
)  # fmt: skip
FRONTIER_NAMES = 8  # more labels would overlap


@dataclass(frozen=True, slots=True)
class Among:
    """A filter on models; None for any."""

    license: str | None = None  # a part of the license name
    max_params: float | None = None


@dataclass(frozen=True, slots=True)
class CardFits:
    """Models that fit a card: `rows` has the best settings of each, those with a score first."""

    memory_gb: float
    context: int
    suite: str | None  # whose score counts; None: nothing was measured
    task: str | None
    rows: pd.DataFrame
    n_models: int  # considered


def read_fits(
    settings: Settings,
    *,
    memory_gb: float,
    context: int = SHORT_CONTEXT,
    suite: str | None = None,
    task: str | None = None,
    among: Among | None = None,
) -> CardFits:
    """The models, measured here or listed by the Hub, that fit in `memory_gb` with `context` tokens.

    Raises:
        UnknownNameError: nothing was measured on that suite or task.
        TrackerError: the memory or the context is out of range.
    """
    if not 0 < memory_gb < MOST_GB:
        raise TrackerError(f"the memory must be a positive number of GB, got {memory_gb:g}", hint="24")
    if context not in CONTEXTS:
        lengths = ", ".join(map(str, CONTEXTS))
        raise TrackerError(f"the context must be one of {lengths} tokens, got {context}")
    with open_snapshot(settings) as snapshot:
        tasks = snapshot.query("board_tasks")
        known = snapshot.table("hub_sizes", n=KNOWN_MODELS).to_pandas()
        listed = snapshot.query("known_models")
        if tasks or suite or task:
            suite, task = choose_task(tasks, suite=suite, task=task)
        scores = read_board(snapshot, suite or "", (task or "",))
        speeds = measured_speeds(snapshot)
    every = fit_candidates(scores, known, task or "", speeds)
    if among is not None and among.license is not None:
        every = every[every["license"].fillna("").str.contains(among.license, case=False, regex=False)]
    if among is not None and among.max_params is not None:
        every = every[number(every, "n_params") <= among.max_params]
    found = _with_hub_facts(best_fits(every, memory_gb=memory_gb, context=context), listed)
    found = with_index(found, index_places(settings))
    return CardFits(memory_gb, context, suite, task, found, every["model_id"].nunique())


def _with_hub_facts(fits: pd.DataFrame, listed: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`fits` with the Hub's facts about each model and `is_measured`; facts from the run take precedence."""
    by_id = {row["name"].casefold(): row for row in listed}
    facts = [by_id.get(model_id.casefold(), {}) for model_id in fits["model_id"]]
    columns = {
        name: pd.Series([row.get(name) for row in facts], index=fits.index, dtype=object)
        for name in HUB_FACTS
    }
    if "revision" in fits:
        columns["revision"] = fits["revision"].fillna(columns["revision"])
    return fits.assign(**columns, is_measured=fits["basis"] == MEASURED)


def fits_frame(found: CardFits) -> pd.DataFrame:
    """The rows that fit with `needed_bytes`, the memory for the context asked about."""
    return exported(found.rows.assign(needed_bytes=found.rows[f"needs {found.context}"]))


def fits_document(found: CardFits) -> dict[str, Any]:
    """The models that fit as plain JSON values."""
    return {
        "memory_gb": found.memory_gb,
        "context": found.context,
        "suite": found.suite,
        "task": found.task,
        "models": json_rows(fits_frame(found)),
    }


def fit_candidates(
    scores: pd.DataFrame, known: pd.DataFrame, task: str, speeds: Sequence[MeasuredSpeed] = ()
) -> pd.DataFrame:
    """One row per model and settings measured on `task`, then the other models listed by the Hub.

    `scores`: rows of the read `board`; `known`: rows of the read `hub_sizes`. Each has the newest of `speeds`
    of its weights in `speed_tokens_per_s` and beside it, whatever device it was measured on.
    """
    here = with_labels(scores[scores["task"] == task])
    lengths = known.set_index("model_id")["max_context"] if len(known) else pd.Series(dtype=float)
    here = here.assign(basis=basis_of(here), max_context=here["model_id"].map(lengths))
    others = known[~known["model_id"].isin(here["model_id"])]
    others = others.assign(basis=KNOWN, label=others["model_id"])
    together = pd.concat([here, others], ignore_index=True) if len(others) else here
    return with_memory(_with_speeds(together.reset_index(drop=True), speeds))


def _with_speeds(frame: pd.DataFrame, speeds: Sequence[MeasuredSpeed]) -> pd.DataFrame:
    """`frame` with the columns of the speed of each row's weights; empty where none was measured."""
    by_id: dict[str, list[MeasuredSpeed]] = {}
    for speed in speeds:
        by_id.setdefault(speed.model_id, []).append(speed)
    rows: list[dict[str, Any]] = [{} for _ in range(len(frame))]
    for place in np.flatnonzero(frame["model_id"].isin(by_id.keys())):
        row = frame.iloc[place]
        found = _newest_speed(row, by_id[row["model_id"]])
        if found is not None:
            rows[place] = speed_columns(found) | {"speed_tokens_per_s": found.tokens_per_s}
    columns = ("speed_tokens_per_s", *speed_columns(None))
    return frame.assign(
        **{
            name: pd.Series([row.get(name) for row in rows], index=frame.index, dtype=object)
            for name in columns
        }
    )


def _newest_speed(row: pd.Series[Any], speeds: Sequence[MeasuredSpeed]) -> MeasuredSpeed | None:
    """The newest of a model's speeds with the row's weights; of a model from the Hub, those as published."""
    if row["basis"] == KNOWN:
        return next((speed for speed in speeds if speed.is_published), None)
    return speed_of_weights(
        speeds,
        revision=_text(row, "revision"),
        dtype=_text(row, "dtype"),
        quantization=_text(row, "quantization"),
    )


def with_memory(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `needs 4096` and so on: bytes for one sequence of that length, if known."""
    needs = memory_needed(frame, CONTEXTS)
    longest = number(frame, "max_context").fillna(np.inf)
    return frame.assign(**{f"needs {c}": needs[c].where(longest >= c) for c in CONTEXTS})


def best_fits(frame: pd.DataFrame, *, memory_gb: float, context: int) -> pd.DataFrame:
    """The best settings of each model that fit: those with a score first, then larger models."""
    fits = frame[frame[f"needs {context}"] <= memory_gb * GB]
    keys = fits.assign(size=number(fits, "n_params"), of=number(fits, "score"))
    order = keys.sort_values(
        ["of", "size", "model_id"], ascending=[False, False, True], na_position="last"
    ).index
    return fits.loc[order].drop_duplicates("model_id").reset_index(drop=True)


def with_frontier(frame: pd.DataFrame, *, cost: Sequence[float], context: int) -> pd.DataFrame:
    """The measured models with `on_frontier` (no cheaper model scores as much), and a `name` for some.

    `cost` has one number per row of `frame`, lower is better; rows without a cost are left out.
    """
    spent = pd.Series(np.asarray(cost, dtype=float), index=frame.index)
    known = frame[(frame["basis"] == MEASURED) & spent.notna() & frame["score"].notna()]
    if known.empty:
        return known.assign(on_frontier=False, name="")
    on_frontier = undominated(spent[known.index].to_numpy(), known["score"].to_numpy(dtype=float))
    found = known.assign(on_frontier=on_frontier, needed_gb=known[f"needs {context}"] / GB)
    named = found[found["on_frontier"]].nlargest(FRONTIER_NAMES, "score").index
    short = (
        found["model_id"].str.partition("/")[2].where(found["model_id"].str.contains("/"), found["model_id"])
    )
    return found.assign(name=short.where(found.index.isin(named), ""))


def fit_commands(fits: pd.DataFrame, model_id: str, *, memory_gb: float, context: int) -> str:
    """Commands to check, measure and serve a model of `fits` with that context and the row's settings."""
    row = fits[fits["model_id"] == model_id].iloc[0]
    here, served = _names(row)
    # without settings, since `tracker fit` lists those that fit
    settings = f"--max-model-len {context}" + _flags(row)
    return "\n".join(
        (
            f"tracker fit {here} --vram-gb {memory_gb:g} --context {context}",
            f"tracker bench {here} {settings}{THINKING.get(row.get('thinking'), '')}",
            f"vllm serve {served} {settings}",
        )
    )


def _names(row: pd.Series[Any]) -> tuple[str, str]:
    """The names of the row's model for `tracker` and `vllm`, quoted for a shell."""
    path, name = _text(row, "path"), shlex.quote(row["model_id"])
    if path is None:
        return name, name
    if row["model_id"] == EMBEDDED_MODEL_ID:
        return DEMO, shlex.quote(path)
    return shlex.quote(path), shlex.quote(path)


def _flags(row: pd.Series[Any]) -> str:
    """The requested settings as flags that `tracker bench` and `vllm serve` both support."""
    asked = {"--dtype": _text(row, "asked_dtype"), "--quantization": _text(row, "asked_quantization")}
    return "".join(f" {flag} {value}" for flag, value in asked.items() if value not in (None, AUTO))


def _text(row: pd.Series[Any], name: str) -> str | None:
    """The text in a column of the row; None if it is missing or there is no such column."""
    value = row.get(name)
    return value if isinstance(value, str) and value else None


def output_speed(frame: pd.DataFrame) -> pd.Series[float]:
    """Output tokens per second of a row's run; missing if it was not measured."""
    return number(frame, "tokens_per_s")


def stream_speed(frame: pd.DataFrame) -> pd.Series[float]:
    """Output tokens per second of one request at a time, by a load generator; missing: not measured so."""
    return number(frame, "speed_tokens_per_s").where(number(frame, "speed_concurrency") == 1)
