"""A link shows what it showed, whatever was measured since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.builders.some_studies import store_study, study
from tests.builders.store_builder import CANDIDATES, build_store
from tests.doubles.app_visit import shown_facts, visit
from tracker.files.items import RUN_FILE
from tracker.records import Run
from tracker.serialization import load_json
from tracker.settings import Settings
from tracker.store import Store, publish

NEWER = "20261201T000000-000000"
LATER = datetime(2026, 12, 1, tzinfo=UTC)
MODEL = CANDIDATES[1].model.model_id
HELD = {
    "compare": "compare",
    "items": "of_run",
    "model": "run",
    "research": "study",
    "run_it": "command_for",
}
ASKED = {"items": {"items_of": MODEL}, "model": {"model": MODEL}}


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The home, and what each page wrote to its address before newer runs and a newer study were there."""
    settings = build_store(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_HOME", str(settings.home))
        written = {page: dict(visit(page, **ASKED.get(page, {})).query_params) for page in HELD}
        _measure_again(settings)
    return settings.home, written


def _measure_again(settings: Settings) -> None:
    runs = [
        load_json(Run, path.read_bytes(), where="run") for path in settings.items_path.glob(f"*/{RUN_FILE}")
    ]
    whole = next(run for run in runs if run.model.model_id == MODEL and run.scores)
    whole = replace(whole, run_id=NEWER, started_at=LATER, ended_at=LATER + timedelta(minutes=5))
    with Store.open(settings) as store:
        store.add_run(whole)
        for place in range(2):
            model = replace(whole.model, model_id=f"aaa/first-{place}")
            scores = tuple(
                replace(score, value=0.999, stderr=None, ci_low=None, ci_high=None) for score in whole.scores
            )
            run_id = f"{NEWER[:-1]}{place + 1}"
            store.add_run(replace(whole, run_id=run_id, model=model, scores=scores))
    made = study(1)
    later = replace(
        made,
        study_id="20261202-000000-aaaaaa",
        started_at=LATER,
        ended_at=LATER + (made.ended_at - made.started_at) if made.ended_at else None,
    )
    store_study(settings, later)
    publish(settings)


@pytest.fixture(autouse=True)
def home(links: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(links[0]))
    return Path(links[0])


@pytest.mark.parametrize(("page", "key"), HELD.items())
def test_permalink_of_the_first_view_shows_the_same_after_newer_runs(links: Any, page: str, key: str) -> None:
    written = links[1][page]
    assert written[key]
    later = visit(page, **written)
    shown = later.multiselect(key=key) if page == "compare" else later.selectbox(key=key)
    assert shown.value == written[key]
    assert dict(later.query_params) == written
    assert not [info for info in later.info if "parts of the link" in info.value]
    fresh = visit(page, **ASKED.get(page, {})).query_params
    assert fresh[key] != written[key], "without the link there is something newer to show"


def test_permalink_keeps_an_explicit_default() -> None:
    session = visit("items", items_of=MODEL, of_run=NEWER)
    assert session.query_params["of_run"] == NEWER
    session.run()
    assert session.query_params["of_run"] == NEWER


def test_permalink_follows_a_new_choice_and_names_a_missing_run() -> None:
    session = visit("model", model=MODEL)
    assert session.query_params["run"] == NEWER
    session.selectbox(key="model").set_value(CANDIDATES[0].model.model_id).run()
    assert session.query_params["model"] == CANDIDATES[0].model.model_id
    assert session.query_params["run"] == session.selectbox(key="run").value != NEWER
    assert "134.5M" in shown_facts(session)
    session = visit("items", items_of=MODEL, of_run="gone")
    assert "no run of this model is called" in session.error[0].value
    assert [box.key for box in session.selectbox if box.key == "of_run"] == []
    assert session.query_params["of_run"] == "gone"
