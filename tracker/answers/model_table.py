"""One table of all models with a place on the index: open and closed, published, estimated or measured here.

What each costs stands beside its place: parameters, memory at 16, 8 and 4 bits, the price of an interface.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from tracker.answers.frontier import FrontierAnswer
from tracker.answers.index_place import ESTIMATED, PUBLISHED
from tracker.frontier.axis import Steps, steps
from tracker.frontier.behind import behind_closed
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.population import small_name
from tracker.frontier.tables import Tables, load_shapes
from tracker.memory_estimate import GB, needed_bytes, stored_bits

Row = Mapping[str, Any]
OPEN = "open"
FIRST_REASONING = date(2024, 9, 12)  # release of o1-preview; no earlier model thinks before it answers
# what the name of a scored version says: an effort, a budget of tokens, or thinking itself
_THINKS = re.compile(r"_(?:low|medium|high|xhigh|max|minimal|\d+K)\b|(?i:think|reason|\bo[134]\b|\br1\b|qwq)")
VARIANT_THINKS = {"thinking": True, "non_thinking": False, "pretrained": False}


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model: its place, its size, what it costs, and where the place comes from."""

    model: str  # its name in the published data, or of the estimate
    organization: str | None
    access: str  # "open" or "closed"
    released: date
    index: float
    ci_low: float | None  # 90% interval
    ci_high: float | None
    basis: str  # PUBLISHED or ESTIMATED
    months_behind: float | None  # closed models, at its release
    months_bound: str | None  # "at_least" or "at_most"
    n_params: int | None
    needed_gb_16: float | None  # memory for a short context, by the bits of a weight; None: size not known
    needed_gb_8: float | None
    needed_gb_4: float | None
    price_in: float | None  # US dollars per million tokens
    price_out: float | None
    license: str | None  # as the Hub states it; None for closed models and where it is not known
    max_context: int | None
    hub_id: str | None
    is_reasoning: bool | None  # thinks before it answers; None: neither its scores nor its day tell
    is_measured: bool  # here


def model_table(
    answer: FrontierAnswer, tables: Tables, hub: Mapping[str, Row], measured: Collection[str]
) -> tuple[ListedModel, ...]:
    """Every model of an answer on the whole index and the estimated small ones, the best first.

    `hub` has facts by repository in lower case, `measured` repositories in lower case. What it lacks is taken
    from the shipped shapes of models.
    """
    hub = {shape.hub_id.casefold(): asdict(shape) for shape in load_shapes()} | dict(hub)
    closed = [point for point in answer.points if point.access != OPEN]
    frontier = steps(
        np.array([float(point.released.toordinal()) for point in closed]),
        np.array([point.value for point in closed]),
    )
    rows = [*_published(answer, tables), *_estimated(tables, {point.model for point in answer.points})]
    listed = [_with_costs(row, frontier, answer.as_of, hub, measured) for row in rows]
    return tuple(sorted(listed, key=lambda row: -row.index))


def _published(answer: FrontierAnswer, tables: Tables) -> Iterator[dict[str, Any]]:
    versions: dict[str, set[str]] = {}
    for row in tables.scores:
        if row.model_version is not None:
            versions.setdefault(row.model, set()).add(row.model_version)
    for point in answer.points:
        facts = tables.models.get(point.model)
        yield {
            "model": point.model,
            "organization": point.organization or None,
            "access": point.access,
            "released": point.released,
            "index": point.value,
            "ci_low": point.ci_low,
            "ci_high": point.ci_high,
            "basis": PUBLISHED,
            "n_params": point.n_params,
            "price_in": facts.price_in_usd_per_mtok if facts else None,
            "price_out": facts.price_out_usd_per_mtok if facts else None,
            "hub_id": facts.hub_id if facts else None,
            "is_reasoning": reasons([point.model, *versions.get(point.model, ())], point.released),
        }


def _estimated(tables: Tables, known: Collection[str]) -> Iterator[dict[str, Any]]:
    """The estimates of models without a published place; their repository's owner released them."""
    published = {facts.hub_id for name, facts in tables.models.items() if name in known and facts.hub_id}
    for row in tables.small_open_models:
        if row.hub_id is None or row.hub_id not in published:
            yield {
                "model": small_name(row),
                "organization": row.hub_id.partition("/")[0] if row.hub_id else None,
                "access": OPEN,
                "released": row.released,
                "index": row.index,
                "ci_low": row.index_ci_low,
                "ci_high": row.index_ci_high,
                "basis": ESTIMATED,
                "n_params": row.n_params,
                "price_in": None,
                "price_out": None,
                "hub_id": row.hub_id,
                "is_reasoning": VARIANT_THINKS.get(row.variant, reasons([row.model], row.released)),
            }


def reasons(names: Iterable[str], released: date) -> bool | None:
    """Whether a model thinks before it answers, by its day and by the names of its scored versions."""
    if released < FIRST_REASONING:
        return False
    return True if any(_THINKS.search(name) for name in names) else None


def _with_costs(
    row: dict[str, Any], closed: Steps, as_of: date, hub: Mapping[str, Row], measured: Collection[str]
) -> ListedModel:
    repository = (row["hub_id"] or "").casefold()
    facts = hub.get(repository, {})
    behind = behind_closed(closed, row["index"], row["released"], until=as_of)
    is_open = row["access"] == OPEN
    return ListedModel(
        **row,
        months_behind=behind.months if behind else None,
        months_bound=behind.bound if behind else None,
        needed_gb_16=_needed_gb(row["n_params"], 16) if is_open else None,
        needed_gb_8=_needed_gb(row["n_params"], 8) if is_open else None,
        needed_gb_4=_needed_gb(row["n_params"], 4) if is_open else None,
        license=facts.get("license"),
        max_context=facts.get("max_context"),
        is_measured=repository in measured or row["model"].casefold() in measured,
    )


def _needed_gb(n_params: int | None, bits: int) -> float | None:
    needed = None if n_params is None else needed_bytes(weights_bytes=n_params * stored_bits(bits) / 8)
    return None if needed is None else needed / GB


def model_table_document(rows: Collection[ListedModel]) -> list[dict[str, Any]]:
    """The rows as plain JSON values, with the definition of the months."""
    return [
        asdict(row) | {"released": row.released.isoformat(), "months_definition": STANDING_LAG}
        for row in rows
    ]
