"""The leaderboard: one row per model and settings, ranked by one task at a time, beside other columns.

Pure functions of frames, and the reads that fill them. The app caches the results; the command line and the
JSON routes print them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tracker.answers.documents import json_row, json_rows
from tracker.answers.episodes import LEVELS, EpisodeBoard, episode_board
from tracker.answers.index_places import index_places, with_index
from tracker.errors import TrackerError, UnknownNameError
from tracker.memory_estimate import GB, NEED_COLUMNS, NEED_TEXTS, SHORT_CONTEXT, column_needed_bytes
from tracker.records.origins import IMPORTED, origin_note
from tracker.settings import Settings
from tracker.store import Snapshot, open_snapshot

MEASURED, CLAIMED = "measured here", "claimed"  # and `IMPORTED`: what a row rests on
# what can differ between two rows of one model, in the order in which people would name it
SETTINGS = (
    "quantization",
    "dtype",
    "engine",
    "asked_max_model_len",
    "thinking",
    "sampling",
    "max_output_tokens",
    "revision",
)
DISTINGUISHING = (*SETTINGS, "run_id")
SUBJECT = ("model_id", *SETTINGS)  # identify a row; a label names only what differs within its task
RANK_NOTE = (
    "A model's rank counts the models whose whole interval is higher, so models whose scores are not"
    " significantly different share a rank. Tasks measure different things and are not averaged."
)
SHORT = 8  # characters of a hash, enough to distinguish a handful


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Filters for rows; an empty tuple or None keeps every row."""

    find: str = ""
    fits_gb: float | None = None
    max_params: float | None = None
    licenses: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The rows of one suite, ranked by one task: the columns of the read `board`, `rank`, `INDEX_COLUMNS`."""

    suite: str
    task: str
    rows: pd.DataFrame
    episodes: EpisodeBoard | None = None  # of a suite of episodes


def read_leaderboard(
    settings: Settings,
    *,
    suite: str | None = None,
    task: str | None = None,
    columns: Sequence[str] = (),
    by: Narrowing | None = None,
) -> Leaderboard:
    """The leaderboard of a suite by one task; without names, of the suite with the most scores.

    Raises:
        UnknownNameError: nothing was measured on that suite or task.
        TrackerError: nothing was measured at all.
    """
    with open_snapshot(settings) as snapshot:
        suite, task = choose_task(snapshot.query("board_tasks"), suite=suite, task=task)
        frame = read_board(snapshot, suite, (task, *columns))
        counts = read_episode_counts(snapshot, suite)
        at_levels = read_board(snapshot, suite, [*LEVELS])
    by = by or Narrowing()
    rows = narrowed(with_index(ranked_rows(frame, task, columns), index_places(settings)), by)
    return Leaderboard(suite, task, rows, episode_board(rows, labeled_subjects(at_levels, by), counts))


def read_episode_counts(snapshot: Snapshot, suite: str) -> list[dict[str, Any]]:
    """What the runs of a suite of episodes count, and the tokens of each episode; none for other suites.

    Rows of the read `episode_runs`. Only the items of those runs are opened.
    """
    runs = [row["run_id"] for row in snapshot.query("runs_of_episodes", suite=suite)]
    return snapshot.query("episode_runs", run_ids=runs) if runs else []


def leaderboard_document(found: Leaderboard) -> dict[str, Any]:
    """The leaderboard as plain JSON values; `episodes` is null where the task is not one of episodes."""
    return {
        "suite": found.suite,
        "task": found.task,
        "models": json_rows(exported(found.rows)),
        "episodes": episodes_document(found.episodes),
    }


def episodes_document(found: EpisodeBoard | None) -> dict[str, Any] | None:
    """The costs and levels of a suite of episodes as plain JSON values; null: it is none."""
    return None if found is None else json_row(found.document())


def choose_task(
    known: Sequence[Mapping[str, Any]], *, suite: str | None = None, task: str | None = None
) -> tuple[str, str]:
    """The named suite and task, or the default ones; `known` are rows of the read `board_tasks`.

    Raises:
        UnknownNameError: nothing was measured on that suite or task.
        TrackerError: nothing was measured at all.
    """
    if not known:
        raise TrackerError(
            "nothing has been measured yet", hint="`tracker bench demo` measures the embedded model"
        )
    suites = list(dict.fromkeys(str(row["suite"]) for row in known))
    if suite is None:
        suite = next((row["suite"] for row in known if row["task"] == task), suites[0])
    if suite not in suites:
        raise UnknownNameError("suite", suite, known=set(suites))
    tasks = [str(row["task"]) for row in known if row["suite"] == suite]
    if task is not None and task not in tasks:
        raise UnknownNameError("task", task, known=set(tasks))
    return suite, task or tasks[0]


def read_board(snapshot: Snapshot, suite: str, tasks: Sequence[str]) -> pd.DataFrame:
    """The best measured run of each model and settings on these tasks, one row per task.

    `origin_note` says where an imported one comes from; it is missing for one measured here.
    """
    frame: pd.DataFrame = snapshot.table("board", suite=suite, tasks=sorted(tasks)).to_pandas()
    frame["measured_at"] = pd.to_datetime(frame["measured_at"], utc=True)
    notes = [
        origin_note({"origin": json.loads(text)}) if isinstance(text, str) else None
        for text in frame.pop("origin")
    ]
    return frame.assign(origin_note=pd.Series(notes, index=frame.index, dtype=object))


def with_labels(frame: pd.DataFrame, *, within: Sequence[str] = ("suite", "task")) -> pd.DataFrame:
    """`frame` with a column `label`: the model id, plus the settings that differ where necessary.

    `within` names the columns within which labels must be unique.
    """
    labels = frame["model_id"].astype(str)
    for column in DISTINGUISHING:
        together = [*(frame[name] for name in within), labels]
        twice = frame.groupby(together)["model_id"].transform("size") > 1 if len(frame) else labels == ""
        if not twice.any():
            break
        part = frame[column].map(WORDS.get(column, _short))
        differs = part.groupby(together).transform("nunique") > 1
        labels = labels.where(~(twice & differs), labels + " · " + part)
    return frame.assign(label=labels)


def _short(value: object) -> str:
    if not isinstance(value, str) or not value:
        return "as published"
    return value.removeprefix("sha256:")[:SHORT] if len(value) >= 40 else value


def _context(tokens: float | None) -> str:
    return "any context" if tokens is None or pd.isna(tokens) else f"{tokens:,.0f} tokens of context"


def _thinking(value: object) -> str:
    if not isinstance(value, bool):
        return "thinking by default"
    return "thinking" if value else "no thinking"


def _sampling(value: object) -> str:
    return "sampled as the task says" if value in (None, "task") else f"{value} sampling"


def _budget(tokens: float | None) -> str:
    return "usual answers" if tokens is None or pd.isna(tokens) else f"{tokens:,.0f} tokens for an answer"


WORDS: Mapping[str, Callable[[Any], str]] = {
    "asked_max_model_len": _context,
    "thinking": _thinking,
    "sampling": _sampling,
    "max_output_tokens": _budget,
}


def with_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column `rank`; tasks keep their order, and the best of each task comes first.

    A model's rank is one more than the number of models whose whole interval lies above its own, so models
    whose scores are not significantly different share a rank. This is conservative: a paired comparison on
    shared items finds more differences than two separate intervals.
    """
    low = frame["ci_low"].fillna(frame["score"])
    high = frame["ci_high"].fillna(frame["score"])
    ranks = pd.Series(1, index=frame.index, dtype="int64")
    for _, group in frame.groupby(["suite", "task"]):
        lows = low[group.index].sort_values()
        ranks[group.index] = 1 + len(lows) - lows.searchsorted(high[group.index], side="right")
    places = {task: place for place, task in enumerate(dict.fromkeys(frame["task"]))}
    ranked = frame.assign(rank=ranks, place=frame["task"].map(places))
    in_order = ranked.sort_values(
        ["place", "score", "label"], ascending=[True, False, True], ignore_index=True
    )
    return in_order.drop(columns="place")


def with_facts(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `organization`, and `needed_bytes`: the memory for a short context."""
    ids = frame["model_id"].astype(str)
    organization = ids.str.split("/").str[0].where(ids.str.contains("/", regex=False), "local")
    needed = memory_needed(frame, [SHORT_CONTEXT])[SHORT_CONTEXT]
    return frame.assign(organization=organization, needed_bytes=needed)


def memory_needed(frame: pd.DataFrame, contexts: Sequence[int]) -> dict[int, pd.Series[float]]:
    """Bytes for one sequence by `row_needed_bytes`, by its tokens; missing if too little is known."""
    columns = {name: frame[name].to_numpy(dtype=object) for name in NEED_TEXTS if name in frame}
    columns |= {name: number(frame, name).to_numpy() for name in NEED_COLUMNS if name not in NEED_TEXTS}
    return {
        context: pd.Series(column_needed_bytes(columns, len(frame), context=context), index=frame.index)
        for context in contexts
    }


def number(frame: pd.DataFrame, name: str) -> pd.Series[float]:
    """A column as floats with NaN for missing values; all NaN if there is no such column."""
    if name not in frame:
        return pd.Series(np.nan, index=frame.index)
    return pd.to_numeric(frame[name], errors="coerce").astype(float)


def ranked_rows(frame: pd.DataFrame, task: str, columns: Sequence[str]) -> pd.DataFrame:
    """One row per model and settings, ranked by `task`, with the scores of the other columns.

    `frame` has one row per model, settings and task. The score on a task `c` is in `score of c`, half
    the width of its interval in `± of c`.
    """
    ranked = with_ranks(with_labels(frame[frame["task"] == task]))
    ranked = with_facts(ranked.assign(basis=basis_of(ranked)))
    for name in columns:
        other = frame[frame["task"] == name].drop_duplicates([*SUBJECT])
        half_width = (other["ci_high"] - other["ci_low"]) / 2
        beside = {f"score of {name}": other["score"], f"± of {name}": half_width}
        ranked = ranked.merge(other[[*SUBJECT]].assign(**beside), how="left", on=[*SUBJECT])
    return ranked


def basis_of(frame: pd.DataFrame) -> pd.Series[str]:
    """What each row of `read_board` rests on: measured here, or imported."""
    notes = frame.get("origin_note", pd.Series(None, index=frame.index, dtype=object))
    return notes.notna().map({True: IMPORTED, False: MEASURED})


def with_claims(ranked: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """`ranked` followed by the claims on the ranked task, which have no interval and so no rank."""
    if claims.empty:
        return ranked
    claimed = with_facts(claims.assign(label=claims["model_id"], basis=CLAIMED, rank=np.nan, metric=None))
    claimed = claimed.assign(measured_at=pd.to_datetime(claims["seen_at"], utc=True))
    kept = [name for name in claimed if name in ranked or name in ("source_url", "reporter")]
    return pd.concat([ranked.astype({"rank": float}), claimed[kept]], ignore_index=True)


def narrowed(ranked: pd.DataFrame, by: Narrowing) -> pd.DataFrame:
    """The rows that pass the filters; a row of unknown size never fits."""
    keep = pd.Series(True, index=ranked.index)
    if by.find.strip():
        keep &= ranked["label"].str.contains(by.find.strip(), case=False, regex=False)
    if by.fits_gb is not None:
        keep &= ranked["needed_bytes"] <= by.fits_gb * GB
    if by.max_params is not None:
        keep &= number(ranked, "n_params") <= by.max_params
    if by.licenses:
        keep &= ranked["license"].fillna("not stated").isin(by.licenses)
    if by.organizations:
        keep &= ranked["organization"].isin(by.organizations)
    return ranked[keep]


def labeled_subjects(frame: pd.DataFrame, by: Narrowing) -> pd.DataFrame:
    """Rows of several tasks that pass the filters, with a `label` that a model and settings have in all."""
    if frame.empty:
        return frame.assign(label="")
    subjects = with_labels(frame.drop_duplicates([*SUBJECT]).assign(task=""))
    kept = narrowed(with_facts(subjects), by)
    return frame.merge(kept[[*SUBJECT, "label"]], on=[*SUBJECT])


def measured(ranked: pd.DataFrame) -> pd.DataFrame:
    """The rows with items in this home, measured here or imported, with whole ranks."""
    return ranked[ranked["basis"] != CLAIMED].astype({"rank": int})


def complete(ranked: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows that have a score in every one of these columns."""
    return ranked.dropna(subset=[f"score of {name}" for name in columns]) if columns else ranked


def exported(ranked: pd.DataFrame) -> pd.DataFrame:
    """The rows for a download: plain values under their names in the store, without local paths."""
    return ranked.drop(columns=["label", "path", "cache_bytes_per_token", "overhead_bytes"], errors="ignore")
