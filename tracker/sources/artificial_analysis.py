"""Artificial Analysis: indices and scores that they measured; needs a personal key, for personal use only.

Rows of their free endpoint, page by page, and of the older `/api/v2/data/llms/models`, which has one page and
no license, are read alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.records.published import (
    Access,
    Batch,
    SourceFacts,
    SourceModel,
    SourceScore,
)
from tracker.settings import Settings
from tracker.sources.fields import built, data_of, mapping, moment, number, price, required, text
from tracker.sources.one_answer import Key, address
from tracker.sources.paged import PagedAnswer

URL = "https://artificialanalysis.ai/api/v2/language/models/free?page_size=200"
VARIABLE = "TRACKER_ARTIFICIAL_ANALYSIS_KEY"


FACTS = SourceFacts(
    name="artificial-analysis",
    title="Artificial Analysis",
    url="https://artificialanalysis.ai",
    license="no right to redistribute",
    attribution="Artificial Analysis, artificialanalysis.ai",
    is_private=True,
    is_whole=True,
)


def source(settings: Settings) -> PagedAnswer:
    """Language models from their data API."""
    key = Key("x-api-key", VARIABLE, settings.artificial_analysis_key)
    return PagedAnswer(FACTS, address(FACTS, URL, settings), parse, key)


def parse(document: Any) -> Batch:
    """Models and scores: indices on their scale of 0 to 100, everything else a fraction.

    Raises:
        LayoutError: it has no `data`.
    """
    found, problems = built(data_of(document, "Artificial Analysis"), _model)
    pairs = [(model.name, name, raw) for model, entry in found for name, raw in _evaluations(entry).items()]
    scores, refused = built(
        (pair for pair in pairs if number(pair[2]) is not None), lambda pair: _score(*pair)
    )
    return Batch(
        models=tuple(model for model, _ in found),
        scores=tuple(scores),
        problems=(*problems, *refused),
    )


def _model(entry: Any) -> tuple[SourceModel, Any]:
    named = text(entry.get("slug")) or entry.get("name")
    prices = mapping(entry.get("pricing"))
    is_open = mapping(entry.get("licensing")).get("is_open_weights")
    model = SourceModel(
        name=required(named, "Artificial Analysis: a model has no `slug`"),
        organization=text(mapping(entry.get("model_creator")).get("name")),
        access=Access.OPEN if is_open is True else Access.CLOSED if is_open is False else Access.UNKNOWN,
        released_at=moment(entry.get("release_date")),
        price_in_usd_per_mtok=price(prices.get("price_1m_input_tokens")),
        price_out_usd_per_mtok=price(prices.get("price_1m_output_tokens")),
    )
    return model, entry


def _evaluations(entry: Any) -> Mapping[str, Any]:
    return mapping(entry.get("evaluations"))


def _score(name: str, benchmark: str, value: float) -> SourceScore:
    unit = "index" if "index" in benchmark else "fraction"
    return SourceScore(name, benchmark, float(value), unit=unit, reporter="Artificial Analysis")
