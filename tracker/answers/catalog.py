"""The catalog of open models: what can be said of each without asking anyone.

In a home where nothing was stored yet it is the shipped table, which the rest of this module made
(`python -m tests.builders.catalog`); in any other, the models of the index, those that the Hub was seen to
have, their copies, and what was measured here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tracker.answers.index_place import IndexPlace, IndexPlaces
from tracker.answers.measured_speed import MeasuredSpeed, by_model, measured_speeds
from tracker.frontier.facts import CatalogRow, ModelShape
from tracker.frontier.tables import Tables, load_catalog, load_shapes
from tracker.memory_estimate import BITS, CACHE_FRACTION, GB, OVERHEAD_BYTES, SHORT_CONTEXT, stored_bits
from tracker.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CACHE_BYTES = 2  # of a value in the cache
# Of the bandwidth that is reached while one sequence is generated. Llama 7B Q4_0 with llama.cpp: 0.45 to 0.8
# on Apple's chips (ggml-org/llama.cpp discussion #4167), 0.6 to 0.7 on the cards RTX 3090 and 4090.
REACHED_FRACTION = 0.6
EXPERTS_FRACTION = 0.35  # of a mixture of experts, whose reads are smaller and scattered
DENSE_PARAMS = 60e9  # a larger model is a mixture more often than not: without its active part, no speed
ACTIVE = re.compile(r"-A(\d{1,3}(?:\.\d)?)B(?![A-Za-z0-9])")  # in a name: Qwen3-30B-A3B
MAX_COPIES = 3
KNOWN_MODELS = 5000
SCORE_COLUMNS = ["model_id", "task", "score", "tokens_per_s", "device", "measured_at"]
NO_PLACES = IndexPlaces({}, {}, {})
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model of the catalogue: what is known without asking anyone."""

    model_id: str
    n_params: int
    n_active_params: int | None = None  # None: all of them
    shape: ModelShape | None = None
    license: str | None = None
    max_context: int | None = None
    published_bits: float = BITS
    copies: tuple[str, ...] = ()  # quantized, the most downloaded first

    def weights_bytes(self, bits: float) -> float:
        """Bytes of the weights of a copy called `bits`, or as published if those are fewer."""
        return self.n_params * min(stored_bits(bits), self.published_bits) / 8

    def needed_bytes(self, bits: float, context: int) -> int:
        """Weights, the cache of one sequence of `context` tokens, and the engine."""
        return round(self.weights_bytes(bits) + self.cache_bytes(bits, context) + OVERHEAD_BYTES)

    def cache_bytes(self, bits: float, context: int) -> float:
        """The cache of one sequence in 16 bits: by its shape, else a share of the weights."""
        if self.shape is not None:
            return float(self.shape.cache_values(context) * CACHE_BYTES)
        return self.weights_bytes(bits) * CACHE_FRACTION * max(1.0, context / SHORT_CONTEXT)

    def tokens_per_s(self, bits: float, context: int, bandwidth_gb_s: float) -> float | None:
        """Output tokens per second of one sequence: each reads the active weights and the cache.

        None for a large model of which it is not known how many of its parameters are active.
        """
        active = self.n_active_params
        if active is None and self.shape is None and self.n_params > DENSE_PARAMS:
            return None
        share = min(1.0, (active or self.n_params) / self.n_params)
        read_bytes = self.weights_bytes(bits) * share + self.cache_bytes(bits, context)
        return (EXPERTS_FRACTION if share < 1.0 else REACHED_FRACTION) * bandwidth_gb_s * GB / read_bytes


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models by name, their places on the index, and what was measured here of each."""

    models: tuple[OpenModel, ...]
    places: IndexPlaces = NO_PLACES
    scores: Mapping[str, Row] = field(default_factory=dict)  # the best, by repository in lower case
    speeds: Mapping[str, tuple[MeasuredSpeed, ...]] = field(
        default_factory=dict
    )  # likewise; the newest first


def read_catalog(
    settings: Settings,
    places: IndexPlaces | None = None,
    board: pd.DataFrame | None = None,
    models: tuple[OpenModel, ...] | None = None,
) -> Catalog:
    """The catalog of this home: models, places and scores.

    `models`, those of `catalog_models`, `places` and `board`, the rows of `read_board` on the task of the
    leaderboard's first page, are computed unless given.
    """
    if is_new(settings):
        rows, shapes = load_catalog(), _shapes()
        known = {row.hub_id.casefold(): place for row in rows if (place := _place(row)) is not None}
        return Catalog(_shipped_models(rows, shapes), IndexPlaces({}, {}, known))
    from tracker.answers.index_places import index_places  # SciPy, as below

    places = index_places(settings) if places is None else places
    board = _first_board(settings) if board is None else board
    models = open_models(settings) if models is None else models
    return Catalog(models, places, _scores(board), catalog_speeds(settings))


def catalog_models(settings: Settings) -> tuple[OpenModel, ...]:
    """The models of the catalog of this home, without places and scores."""
    return _shipped_models(load_catalog(), _shapes()) if is_new(settings) else open_models(settings)


def catalog_speeds(settings: Settings) -> dict[str, tuple[MeasuredSpeed, ...]]:
    """Speeds measured here by repository in lower case; those of a quantized copy also under its parent."""
    if is_new(settings):
        return {}
    from tracker.store import open_snapshot, snapshot_id

    if snapshot_id(settings) is None:
        return {}
    with open_snapshot(settings) as snapshot:
        speeds = measured_speeds(snapshot)
        listed = snapshot.query("known_models", license=None, max_params=None) if speeds else []
    timed = {speed.model_id.casefold() for speed in speeds}
    copies = [row for row in listed if row["kind"] == "quantized" and row["name"].casefold() in timed]
    return by_model(speeds, {row["name"].casefold(): row["base_models"] or () for row in copies})


def is_new(settings: Settings) -> bool:
    """Whether nothing was stored in this home yet, so that the shipped table is its catalog."""
    return not settings.db_path.exists() and not settings.snapshots_path.exists()


def catalog_rows(settings: Settings) -> tuple[CatalogRow, ...]:
    """The catalog of this home as rows of the shipped table, computed from the tables behind it."""
    from tracker.answers.index_places import index_places, place_columns

    places = index_places(settings)
    return tuple(
        CatalogRow(
            hub_id=model.model_id,
            n_params=model.n_params,
            n_active_params=model.n_active_params,
            max_context=model.max_context,
            license=model.license,
            **place_columns(places.of({"model_id": model.model_id})),
        )
        for model in open_models(settings)
    )


def open_models(settings: Settings) -> tuple[OpenModel, ...]:
    """Models of the index with a size, then those that the Hub was seen to have, by name."""
    from tracker.answers.vintages import tables_for
    from tracker.store import snapshot_id

    shapes = _shapes()
    sizes: dict[str, tuple[str, int]] = {}
    for name, n_params in _sizes(tables_for(settings)):
        sizes.setdefault(name.casefold(), (name, n_params))
    for key, shape in shapes.items():
        if shape.n_params is not None:
            sizes[key] = (shape.hub_id, shape.n_params)
    found = {key: _with_shape(name, n_params, shapes.get(key)) for key, (name, n_params) in sizes.items()}
    if snapshot_id(settings) is not None:
        _add_known(found, settings, shapes)
    return tuple(found[key] for key in sorted(found))


def _sizes(tables: Tables) -> Iterator[tuple[str, int]]:
    """Repository and size of the shipped open models; an exact count before a rounded one."""
    for row in tables.models.values():
        if row.hub_id and row.n_params:
            yield row.hub_id, row.n_params
    for small in tables.small_open_models:
        if small.hub_id:
            yield small.hub_id, small.n_params


def _shapes() -> dict[str, ModelShape]:
    """The shipped shapes by repository in lower case."""
    return {shape.hub_id.casefold(): shape for shape in load_shapes()}


def _shipped_models(rows: Iterable[CatalogRow], shapes: Mapping[str, ModelShape]) -> tuple[OpenModel, ...]:
    """The models of the shipped table with their shapes."""
    models = (_with_shape(row.hub_id, row.n_params, shapes.get(row.hub_id.casefold())) for row in rows)
    return tuple(
        replace(model, n_active_params=row.n_active_params, max_context=row.max_context, license=row.license)
        for model, row in zip(models, rows, strict=True)
    )


def _place(row: CatalogRow) -> IndexPlace | None:
    """The place in a row of the shipped table; None if the model has none."""
    if row.index is None or row.index_basis is None or row.months_as_of is None:
        return None
    return IndexPlace(
        index=row.index,
        index_ci_low=row.index_ci_low,
        index_ci_high=row.index_ci_high,
        index_basis=row.index_basis,
        index_name=row.index_name,
        months_behind=row.months_behind,
        months_bound=row.months_bound,
        months_definition=row.months_definition,
        months_as_of=row.months_as_of,
    )


def _with_shape(name: str, n_params: int, shape: ModelShape | None) -> OpenModel:
    if shape is None:
        named = ACTIVE.search(name)
        active = round(float(named[1]) * 1e9) if named else None
        return OpenModel(name, n_params, active if active and active < n_params else None)
    return OpenModel(
        shape.hub_id,
        n_params,
        n_active_params=shape.n_active_params,
        shape=shape,
        license=shape.license,
        max_context=shape.max_context,
        published_bits=shape.published_bits,
    )


def _add_known(found: dict[str, OpenModel], settings: Settings, shapes: Mapping[str, ModelShape]) -> None:
    """Add the models that the Hub was seen to have, and to each model its quantized copies."""
    from tracker.store import open_snapshot

    copies: dict[str, list[str]] = {}
    with open_snapshot(settings) as snapshot:
        listed = snapshot.query("known_models", license=None, max_params=None)
    for row in listed[:KNOWN_MODELS]:
        key = row["name"].casefold()
        if row["kind"] == "quantized":
            for parent in row["base_models"] or ():
                copies.setdefault(parent.casefold(), []).append(row["name"])
        elif key not in found and row["n_params"] and row["kind"] not in ("adapter", "merge"):
            model = _with_shape(row["name"], row["n_params"], shapes.get(key))
            found[key] = replace(model, license=row["license"], max_context=row["max_context"])
    for key, names in copies.items():
        if key in found:
            found[key] = replace(found[key], copies=tuple(names[:MAX_COPIES]))


def _first_board(settings: Settings) -> pd.DataFrame | None:
    """The rows of `read_board` on the task of the leaderboard's first page; None if nothing was measured."""
    from tracker.store import open_snapshot, snapshot_id

    if snapshot_id(settings) is None:
        return None
    from tracker.answers.leaderboard import choose_task, read_board  # pandas

    with open_snapshot(settings) as snapshot:
        tasks = snapshot.query("board_tasks")
        if not tasks:
            return None
        suite, task = choose_task(tasks, suite=None, task=None)
        return read_board(snapshot, suite, (task,))


def _scores(board: pd.DataFrame | None) -> dict[str, Row]:
    """The best score of each model, by repository in lower case."""
    if board is None:
        return {}
    best = board[SCORE_COLUMNS].sort_values("score").drop_duplicates("model_id", keep="last")
    return {str(row["model_id"]).casefold(): row for row in best.to_dict("records")}
