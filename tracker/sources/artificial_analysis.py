"""Artificial Analysis: indices and scores run by them, with a key of one's own, for one's own use only."""

from __future__ import annotations

from typing import Any

from tracker.ingested import Batch, SourceFacts, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.sources.fields import built, data_of, mapping, moment, number, required, text
from tracker.sources.one_answer import Key, OneAnswer, address

URL = "https://artificialanalysis.ai/api/v2/data/llms/models"
VARIABLE = "TRACKER_ARTIFICIAL_ANALYSIS_KEY"


FACTS = SourceFacts(
    name="artificial-analysis",
    title="Artificial Analysis",
    url="https://artificialanalysis.ai",
    license="no grant of redistribution",
    attribution="Artificial Analysis, artificialanalysis.ai",
    is_private=True,
    is_whole=True,
)


def source(settings: Settings) -> OneAnswer:
    """What their data API gives for language models."""
    key = Key("x-api-key", VARIABLE, settings.artificial_analysis_key)
    return OneAnswer(FACTS, address(FACTS, URL, settings), lambda answer: [parse(answer.json())], key)


def parse(document: Any) -> Batch:
    """Models and scores: indices on their scale of 0 to 100, everything else a fraction.

    Raises:
        LayoutError: there is no `data` in it.
    """
    found, problems = built(data_of(document, "Artificial Analysis"), _entry)
    return Batch(
        models=tuple(model for model, _ in found),
        scores=tuple(score for _, scores in found for score in scores),
        problems=tuple(problems),
    )


def _entry(entry: Any) -> tuple[SourceModel, list[SourceScore]]:
    named = text(entry.get("slug")) or entry.get("name")
    name = required(named, "Artificial Analysis: a model without `slug`")
    prices = mapping(entry.get("pricing"))
    model = SourceModel(
        name=name,
        organization=text(mapping(entry.get("model_creator")).get("name")),
        released_at=moment(entry.get("release_date")),
        price_in_usd_per_mtok=number(prices.get("price_1m_input_tokens")),
        price_out_usd_per_mtok=number(prices.get("price_1m_output_tokens")),
    )
    return model, [
        SourceScore(
            name,
            benchmark,
            value,
            unit="index" if "index" in benchmark else "fraction",
            reporter="Artificial Analysis",
        )
        for benchmark, raw in mapping(entry.get("evaluations")).items()
        if (value := number(raw)) is not None
    ]
