"""A source that fails in a way that nobody expected costs only itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.engines import PanicException
from tracker.ingest.run import exit_code, ingest
from tracker.records.published import Access, Batch, OutcomeStatus, SourceFacts, SourceModel
from tracker.settings import Settings
from tracker.sources import Fetcher, SourceRequest

HERE = "tests.tracker.ingest.test_odd_source"
pytestmark = pytest.mark.clock


class DeepSource:
    """Gives one model, then fails."""

    facts = SourceFacts("deep", "Deep", "https://example.org", "CC0", "By Deep")
    error: BaseException = RecursionError("maximum recursion depth exceeded")

    def __init__(self, settings: Settings) -> None:
        pass

    def missing_credential(self) -> str | None:
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        yield Batch(models=(SourceModel(name=f"acme/{self.facts.name}-1b", access=Access.OPEN),))
        raise self.error


class PanickingSource(DeepSource):
    """Fails as a library in Rust does."""

    facts = SourceFacts("panicking", "Panicking", "https://example.org", "CC0", "By Panicking")
    error = PanicException("index out of bounds")


class StoppedSource(DeepSource):
    """Is stopped by the user."""

    facts = SourceFacts("stopped", "Stopped", "https://example.org", "CC0", "By Stopped")
    error = KeyboardInterrupt()


def test_a_source_that_fails_in_any_way_costs_only_itself(settings: Settings) -> None:
    outcomes = ingest([f"{HERE}:DeepSource", f"{HERE}:PanickingSource"], settings)
    assert [(one.source, one.status, one.n_new) for one in outcomes] == [
        ("deep", OutcomeStatus.PARTIAL, 1), ("panicking", OutcomeStatus.PARTIAL, 1),
    ]  # fmt: skip
    assert [one.reason for one in outcomes] == [
        "RecursionError: maximum recursion depth exceeded", "PanicException: index out of bounds",
    ]  # fmt: skip
    assert exit_code(outcomes) == 4


def test_a_request_to_stop_ends_the_ingest(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        ingest([f"{HERE}:StoppedSource", f"{HERE}:DeepSource"], settings)
