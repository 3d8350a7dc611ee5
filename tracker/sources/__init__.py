"""Where models and published scores come from: one file per source, and a line in `SOURCES`.

A source turns answers into records. It opens no database, and knows nothing of the other sources. One from
another package needs no line here: an entry point of the group below, or `package.module:Class`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from tracker.errors import TrackerError
from tracker.extensions import Registry
from tracker.records.published import Batch, SourceFacts
from tracker.settings import Settings
from tracker.sources.fetch import Fetcher

# name → factory that takes the settings, imported on demand
SOURCES = Registry(
    "source",
    group="open_weight_tracker.sources",
    built_in={
        "hub-models": "tracker.sources.hub_models:HubModels",
        "hub-evals": "tracker.sources.hub_evals:HubEvals",
        "epoch": "tracker.sources.epoch:source",
        "lmarena": "tracker.sources.lmarena:LMArena",
        "models-dev": "tracker.sources.models_dev:source",
        "openrouter": "tracker.sources.openrouter:source",
        "openrouter-usage": "tracker.sources.openrouter_usage:OpenRouterUsage",
        "every-eval-ever": "tracker.sources.every_eval_ever:EveryEvalEver",
        "artificial-analysis": "tracker.sources.artificial_analysis:source",
    },
)


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """The part of a source to read."""

    now: datetime
    since: datetime | None = None  # only later changes; None: the source's default
    resume: str | None = None  # position of an interrupted ingest, from its last `Batch`
    watched: tuple[tuple[str, str | None], ...] = ()  # repositories to check, each at a commit


class Source(Protocol):
    """One place that publishes models or scores. Constructed as `Class(settings)`."""

    facts: SourceFacts

    def missing_credential(self) -> str | None:
        """The environment variable that is needed but not set; None if nothing is missing."""
        ...

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield its records in batches small enough for memory.

        All batches of a source that `is_whole` are kept until its end, and written together.

        Raises:
            UnreachableError: it is down, or the time limit is reached; earlier batches are valid.
            LayoutError: its response is invalid.
        """
        ...


def get_source(name: str, settings: Settings) -> Source:
    """The source of that name, or `package.module:Class`.

    Raises:
        UnknownNameError: there is no such source.
        TrackerError: it cannot be imported, or has the name of another source.
    """
    source = cast(Source, SOURCES.load(name)(settings))
    named = source.facts.name
    if named != name and SOURCES.get(named, SOURCES.place(name)) != SOURCES.place(name):
        message = f"source `{name}` calls itself `{named}`, which is another source"
        raise TrackerError(message, hint="its `facts.name` must be unique")
    return source


__all__ = ["SOURCES", "Fetcher", "Source", "SourceRequest", "get_source"]
