"""Artificial Analysis: indices and scores run by them, with a key of one's own, for one's own use only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracker.ingested import Batch, SourceFacts, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import entries, mapping, moment, number, text

URL = "https://artificialanalysis.ai/api/v2/data/llms/models"
KEY = "TRACKER_ARTIFICIAL_ANALYSIS_KEY"


class ArtificialAnalysis:
    """What their data API gives for language models."""

    facts = SourceFacts(
        name="artificial-analysis",
        title="Artificial Analysis",
        url="https://artificialanalysis.ai",
        license="no grant of redistribution",
        attribution="Artificial Analysis, artificialanalysis.ai",
        is_private=True,
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._url = settings.source_urls.get(self.facts.name, URL)
        self._key = settings.artificial_analysis_key

    def missing_credential(self) -> str | None:
        """The variable that holds the key, if there is none."""
        return None if self._key else KEY

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """One batch: the whole list."""
        del question
        yield parse(fetch.get(self._url, headers={"x-api-key": self._key}).json())


def parse(document: Any) -> Batch:
    """Models and scores: indices on their scale of 0 to 100, everything else a fraction.

    Raises:
        LayoutError: there is no `data` in it.
    """
    if "data" not in mapping(document):
        raise LayoutError("Artificial Analysis: there is no `data`, so its layout has changed")
    models, scores, problems = [], [], []
    for row in entries(document["data"], "Artificial Analysis"):
        entry = mapping(row)
        name = text(entry.get("slug")) or text(entry.get("name"))
        if name is None:
            problems.append("Artificial Analysis: a model without `slug`")
            continue
        prices = mapping(entry.get("pricing"))
        try:
            models.append(
                SourceModel(
                    name=name,
                    organization=text(mapping(entry.get("model_creator")).get("name")),
                    released_at=moment(entry.get("release_date")),
                    price_in_usd_per_mtok=number(prices.get("price_1m_input_tokens")),
                    price_out_usd_per_mtok=number(prices.get("price_1m_output_tokens")),
                )
            )
            for benchmark, raw in mapping(entry.get("evaluations")).items():
                if (value := number(raw)) is not None:
                    unit = "index" if "index" in benchmark else "fraction"
                    scores.append(
                        SourceScore(name, benchmark, value, unit=unit, reporter="Artificial Analysis")
                    )
        except ValueError as error:
            problems.append(str(error))
    return Batch(models=tuple(models), scores=tuple(scores), problems=tuple(problems))
