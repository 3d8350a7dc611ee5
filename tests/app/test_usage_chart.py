"""The share of open-weight models in tokens, on the page of the sources."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pandas as pd
import pytest

from app.pages.sources.usage import usage_alt, usage_chart
from tests.doubles.app_visit import said, visit
from tests.doubles.sources_double import token_shares
from tracker.records.published import IngestOutcome, OutcomeStatus
from tracker.settings import Settings
from tracker.sources.openrouter_usage import FACTS, parse
from tracker.store import SourceState, Store, publish

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_the_page_of_sources_shows_shares_of_tokens_once_they_are_ingested(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    with Store.open(settings) as store:
        outcome = IngestOutcome(FACTS.name, OutcomeStatus.COMPLETED, n_seen=180, n_problems=3, ingest_id="1")
        store.add_outcome(FACTS, outcome, started_at=NOW, state=SourceState())
    publish(settings)
    before = visit("sources")
    assert "in use" not in said(before)
    batch = parse(json.dumps(token_shares()).encode())
    with Store.open(settings) as store:
        store.add_batch(batch, source=FACTS.name, ingest_id="1", seen_at=NOW)
    publish(settings)
    session = visit("sources")
    assert not session.exception
    assert session.get("vega_lite_chart")
    text = said(session)
    assert "Open-weight models in use" in text
    assert "6 days old" in text
    assert "CC BY 4.0" in text


def test_the_chart_is_valid_and_told_in_words() -> None:
    days = [{"day": f"2026-11-{n:02}", "open": 0.4, "closed": 0.3, "open_high": 0.7} for n in (20, 21)]
    frame = pd.DataFrame(days)
    usage_chart(frame).to_dict(validate=True)
    assert usage_alt(frame) == (
        "Shares of tokens on OpenRouter by day: open 40% and closed 30% on 2026-11-20;"
        " open 40% and closed 30% on 2026-11-21"
    )
