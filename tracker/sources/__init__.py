"""Where models and published scores come from: one file per source, and a line in `SOURCES`.

A source turns answers into records. It opens no database, and knows nothing of the other sources.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from tracker.errors import UnknownNameError
from tracker.ingested import Batch, SourceFacts
from tracker.settings import Settings
from tracker.sources.fetch import Fetcher

# name → what makes it of the settings, imported only when asked for
SOURCES = {
    "hub-models": "tracker.sources.hub_models:HubModels",
    "hub-evals": "tracker.sources.hub_evals:HubEvals",
    "epoch": "tracker.sources.epoch:source",
    "lmarena": "tracker.sources.lmarena:LMArena",
    "models-dev": "tracker.sources.models_dev:source",
    "openrouter": "tracker.sources.openrouter:source",
    "every-eval-ever": "tracker.sources.every_eval_ever:EveryEvalEver",
    "artificial-analysis": "tracker.sources.artificial_analysis:source",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is wanted of a source."""

    now: datetime
    since: datetime | None = None  # only what moved later; None: whatever the source offers at first
    resume: str | None = None  # where an ingest was cut off, as its last `Batch` said
    watched: tuple[tuple[str, str | None], ...] = ()  # repositories to be looked at, each at a commit


class Source(Protocol):
    """One place that publishes models or scores."""

    facts: SourceFacts

    def missing_credential(self) -> str | None:
        """The environment variable that is needed and not set; None if it can be asked."""
        ...

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """What it has, in batches small enough for memory.

        Raises:
            UnreachableError: it is down, or time is up; the batches before it are good.
            LayoutError: it answers with something that cannot be right.
        """
        ...


def get_source(name: str, settings: Settings) -> Source:
    """The source of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in SOURCES:
        raise UnknownNameError("source", name, known=SOURCES)
    module, _, maker = SOURCES[name].partition(":")
    return cast(Source, getattr(importlib.import_module(module), maker)(settings))


__all__ = ["SOURCES", "Fetcher", "Question", "Source", "get_source"]
