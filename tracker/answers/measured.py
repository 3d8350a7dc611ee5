"""The models measured here on the index: the newest run of each that can be placed, or why there is none.

One fitted index serves all runs. Placements are kept in the home until the runs, the published data or the
code change, since each takes a fraction of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import tracker.frontier
from tracker.answers import placement as placing
from tracker.answers.frontier import is_fitted
from tracker.answers.index_place import settings_key
from tracker.answers.placement import place_run, scale_of, tasks_on_scale
from tracker.answers.vintages import tables_for
from tracker.errors import TrackerError
from tracker.files.items import read_run
from tracker.frontier.cache import keep_file
from tracker.frontier.gap import BEING_DRAWN
from tracker.frontier.placement import Placement, Scale, Unplaced, off_scale
from tracker.frontier.question import Fitted, Question, fitted, window
from tracker.frontier.tables import Tables, default_folder
from tracker.serialization import dump, dump_json, load_json
from tracker.settings import Settings
from tracker.store import open_snapshot

GIVEN = "given"
INTERVAL_ENDS = ("ci_low", "ci_high", "months_ci_low", "months_ci_high")
KEPT_FILES = 8  # of kept placements: one per question and state of the home
TRIED_RUNS = 3  # of each model and settings, newest first, before it counts as not placed
Document = dict[str, Any]
Row = Mapping[str, Any]
Outcome = Placement | Unplaced


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """One model as measured here with one quantization and way of thinking, placed on the index."""

    model_id: str
    revision: str
    quantization: str | None  # None: as published
    thinking: bool | None  # None: as its chat template sets it
    run_id: str
    suite: str
    measured_on: date
    released: date | None  # by the published data, else by the Hub
    n_params: int | None
    weights_bytes: int | None
    placement: Placement
    published_as: str | None  # its name on the index
    published_index: float | None  # from published scores, to compare

    @property
    def key(self) -> tuple[Any, ...]:
        """`settings_key` of its run."""
        return (self.model_id, self.revision, self.quantization, self.thinking)

    @property
    def day(self) -> date:
        """Where it stands in time: its release, else the day on which it was measured."""
        return self.released or self.measured_on


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """A model measured here that has no place on the index, by its newest run."""

    model_id: str
    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class MeasuredAnswer:
    """Every model measured here: `placed` the newest run first, one per model and settings."""

    as_of: date  # day from which months are counted where no release is known
    vintage: date  # of the published data behind the scale
    has_intervals: bool  # False while the draws are being computed
    placed: tuple[MeasuredModel, ...]
    not_placed: tuple[NotPlaced, ...]

    @property
    def newest(self) -> tuple[MeasuredModel, ...]:
        """The newest placed run of each model, the best first."""
        by_model: dict[str, MeasuredModel] = {}
        for row in self.placed:
            by_model.setdefault(row.model_id, row)
        return tuple(sorted(by_model.values(), key=lambda row: (-row.placement.index, row.model_id)))


def has_scale(question: Question, settings: Settings) -> bool:
    """Whether measured models stand on the axis of the question: only on the whole index, if it is fitted.

    A named vintage may have published values alone, which say nothing of its tasks.
    """
    if question.benchmark is not None or question.only is not None:
        return False
    if question.vintage is None:
        return True
    return is_fitted(tables_for(settings, question, is_fitted=False), question)


def measured_on_index(
    tables: Tables, question: Question, found: Fitted, settings: Settings
) -> MeasuredAnswer:
    """The models measured here on the index `found`, filtered by the question's size and day.

    A fit without draws gives places without intervals.

    Raises:
        StoreError: the snapshot cannot be read.
    """
    scaled = replace(question, since=None, without=(), max_params=None)
    days = window(tables, scaled)
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("scored_runs", tasks=tasks_on_scale(tables))
    on_scale = tuple(f"{row['run_id']} {row['hub_released']}" for row in rows if row["is_on_scale"])
    outcomes = _Outcomes(tables, scaled, found, settings, runs=on_scale)
    placed, not_placed = _placed(rows, outcomes.of)
    outcomes.keep()
    has_intervals = len(found.draws.index) > 1
    index = dict(zip(found.fit.data.models, map(float, found.fit.index), strict=True))
    models = (_model(row, place, tables, index) for row, place in placed)
    return MeasuredAnswer(
        as_of=days.as_of,
        vintage=found.fit.data.vintage,
        has_intervals=has_intervals,
        placed=tuple(row for row in models if _is_asked(row, question)),
        not_placed=tuple(not_placed),
    )


def answer_measured(question: Question, settings: Settings) -> MeasuredAnswer | None:
    """The models measured here on the axis of a question; None if the axis is not the whole index.

    Raises:
        TrackerError: no index can be fitted to the selected scores.
    """
    if not has_scale(question, settings):
        return None
    tables = tables_for(settings, question)
    return measured_on_index(tables, question, fitted(tables, question, settings.frontier_path), settings)


def _placed(
    rows: Sequence[Row], outcome: Callable[[Row], Outcome]
) -> tuple[list[tuple[Row, Placement]], list[NotPlaced]]:
    """The newest placed run of each model and settings, and the models that have none."""
    by_settings: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        by_settings.setdefault(settings_key(row), []).append(row)
    placed: list[tuple[Row, Placement]] = []
    reasons: dict[str, NotPlaced] = {}
    for runs in by_settings.values():
        on_scale = [row for row in runs if row["is_on_scale"]]
        for row in on_scale[:TRIED_RUNS] or runs[:1]:
            found = outcome(row)
            if isinstance(found, Placement):
                placed.append((row, found))
                break
            reasons.setdefault(row["model_id"], NotPlaced(row["model_id"], row["run_id"], found.reason))
    known = {row["model_id"] for row, _ in placed}
    return placed, [row for row in reasons.values() if row.model_id not in known]


def _model(row: Row, place: Placement, tables: Tables, index: Mapping[str, float]) -> MeasuredModel:
    published = [facts for facts in tables.models.values() if facts.hub_id == row["model_id"]]
    published.sort(key=lambda facts: facts.released)
    estimates = [small.released for small in tables.small_open_models if small.hub_id == row["model_id"]]
    released = published[0].released if published else min(estimates, default=row["hub_released"])
    name = published[0].model if published else None
    return MeasuredModel(
        model_id=row["model_id"],
        revision=row["revision"],
        quantization=row["quantization"],
        thinking=row["thinking"],
        run_id=row["run_id"],
        suite=row["suite"],
        measured_on=row["measured_on"],
        released=released,
        n_params=row["n_params"],
        weights_bytes=row["weights_bytes"],
        placement=place,
        published_as=name,
        published_index=index.get(name) if name else None,
    )


def _is_asked(row: MeasuredModel, question: Question) -> bool:
    if question.max_params is not None and (row.n_params is None or row.n_params > question.max_params):
        return False
    if question.as_of is not None and row.day > question.as_of:
        return False
    return not {row.model_id, row.published_as} & set(question.without)


class _Outcomes:
    """The placement of each run, read from the home or computed; the key covers all that it rests on."""

    def __init__(
        self, tables: Tables, question: Question, found: Fitted, settings: Settings, *, runs: Sequence[str]
    ) -> None:
        self._tables, self._question, self._found = tables, question, found
        self._settings = settings
        self._scale: Scale | None = None
        key = _key(tables, question, found, runs)
        self._path = settings.frontier_path / f"measured-{key}.json"
        self._known = _read(self._path)
        self._n_read = len(self._known)

    def of(self, row: Row) -> Outcome:
        """The outcome of one run."""
        if not row["is_on_scale"]:
            return Unplaced(off_scale(", ".join(row["tasks"]) or "none"))
        run_id = row["run_id"]
        if run_id not in self._known:
            try:
                run = read_run(self._settings.items_path / run_id)
            except TrackerError as error:  # not kept: the files may come back
                return Unplaced(f"not placed: {error}")
            if self._scale is None:
                self._scale = scale_of(self._tables, self._question, self._found)
            self._known[run_id] = place_run(run, self._settings, self._scale, tables=self._tables)
        return self._known[run_id]

    def keep(self) -> None:
        """Write what was computed."""
        if len(self._known) > self._n_read:
            placed = {name: row for name, row in self._known.items() if isinstance(row, Placement)}
            others = {name: row for name, row in self._known.items() if isinstance(row, Unplaced)}
            content = dump_json(_Kept(placed, others))
            keep_file(self._path, lambda file: file.write(content))
            self._drop_old()

    def _drop_old(self) -> None:
        """Keep the newest files alone: each new run begins another."""
        with suppress(OSError):  # another process may remove the same file
            files = sorted(self._path.parent.glob("measured-*.json"), key=lambda path: path.stat().st_mtime)
            for path in files[:-KEPT_FILES]:
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Kept:
    """The outcomes of runs by their ids, as they are kept."""

    placed: dict[str, Placement]
    not_placed: dict[str, Unplaced]


def _read(path: Path) -> dict[str, Outcome]:
    """The outcomes in a file of `_Outcomes`; those in an unreadable one are computed again."""
    try:
        found = load_json(_Kept, path.read_bytes(), where=str(path))
    except (OSError, TrackerError):
        return {}
    return {**found.placed, **found.not_placed}


def _key(tables: Tables, question: Question, found: Fitted, runs: Sequence[str]) -> str:
    """32 hex digits, equal exactly when the placements would be: any run on the scale may be a bridge."""
    digest = hashlib.sha256()
    code = sorted(Path(tracker.frontier.__path__[0]).glob("*.py"))
    data = sorted(default_folder().glob("*.csv"))
    for path in (*code, Path(placing.__file__), *data):
        digest.update(path.read_bytes())
    digest.update(repr((tables.digest, question, runs, found.draws.index.shape)).encode())
    for array in (found.fit.index, found.draws.index[-1]):
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def calibrated_text(calibrated: bool, in_range: bool) -> str:
    """Whether a placement is calibrated, as tables say it."""
    if not calibrated:
        return "no"
    return "yes" if in_range else "outside its range"


def measured_document(found: MeasuredAnswer | None) -> Document:
    """`measured`, one row per model with its newest placement, and `not_placed`, as plain JSON values.

    Both are empty on an axis that is not the whole index.
    """
    if found is None:
        return {"measured": [], "measured_intervals": None, "not_placed": []}
    return {
        "measured": [measured_row(row, found) for row in found.newest],
        "measured_intervals": GIVEN if found.has_intervals else BEING_DRAWN,
        "not_placed": [asdict(row) for row in found.not_placed],
    }


def measured_row(row: MeasuredModel, found: MeasuredAnswer) -> Document:
    """One placed model as plain JSON values, without an interval while the draws are being computed."""
    place = dump(row.placement)
    if not found.has_intervals:
        place |= dict.fromkeys(INTERVAL_ENDS)
    return {
        "model_id": row.model_id,
        "run_id": row.run_id,
        "suite": row.suite,
        "revision": row.revision,
        "quantization": row.quantization,
        "thinking": row.thinking,
        "n_params": row.n_params,
        "day": row.day.isoformat(),
        "day_is": "release" if row.released else "measurement",
        "measured_on": row.measured_on.isoformat(),
        "as_of": found.as_of.isoformat(),
        **place,
        "published_as": row.published_as,
        "published_index": row.published_index,
    }
