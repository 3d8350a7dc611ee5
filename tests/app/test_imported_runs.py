"""Imported runs on every face: where they come from is said, and nothing passes for measured here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.http import routes
from tests.builders.foreign_results import lm_eval_document, write_lm_eval
from tests.builders.some_runs import model, run, store_runs
from tests.doubles.app_visit import said, visit
from tests.doubles.command import command
from tracker.answers.fits import read_fits
from tracker.answers.leaderboard import read_leaderboard
from tracker.exchange.import_runs import import_results
from tracker.mcp.tools import HERE, CompareTool, FindModelsTool, ItemsTool, LeaderboardTool, ModelTool
from tracker.records.origins import IMPORTED
from tracker.settings import Settings

MODEL, OTHER = "acme/atlas-1b (imported)", "acme/nimbus-2b (imported)"
SUITE = "imported-lm-eval"


@pytest.fixture
def mixed(settings: Settings, tmp_path: Path) -> Settings:
    """Two models that stock lm-eval measured, imported beside one that was measured here."""
    store_runs(settings, run(1, of=model("acme/here-8b")))
    for name in (MODEL, OTHER):
        short = name.removesuffix(" (imported)")
        folder = tmp_path / short.partition("/")[2]
        write_lm_eval(folder, lm_eval_document(model=short))
        import_results(folder, settings)
    return settings


def note_of(settings: Settings, name: str = MODEL) -> str:
    rows = read_leaderboard(settings, suite=SUITE).rows
    return str(rows.set_index("model_id").loc[name, "origin_note"])


def run_id_of(settings: Settings, name: str = MODEL) -> str:
    rows = read_leaderboard(settings, suite=SUITE).rows
    return str(rows.set_index("model_id").loc[name, "run_id"])


def test_imported_rows_name_program_file_and_day_on_the_leaderboard(mixed: Settings) -> None:
    note = note_of(mixed)
    assert note.startswith(f"{IMPORTED}: lm-eval 0.4.9, file `results_2025-03-04")
    assert ", on 20" in note
    table = visit("leaderboard", suite=SUITE).dataframe[0].value
    assert list(table["origin_note"]) == [note_of(mixed, name) for name in (MODEL, OTHER)]
    here = visit("leaderboard", suite="quick").dataframe[0].value
    assert "origin_note" not in here
    printed = command("leaderboard", "--suite", SUITE)
    assert f"{MODEL}: {note}" in printed.stdout
    rows = json.loads(command("leaderboard", "--suite", SUITE, "--json").stdout)["models"]
    assert {row["basis"] for row in rows} == {IMPORTED}
    assert rows[0]["origin_note"] == note


def test_imported_suites_are_never_the_default_where_something_was_measured_here(mixed: Settings) -> None:
    assert read_leaderboard(mixed).suite == "quick"
    assert [row.basis for row in read_leaderboard(mixed).rows.itertuples()] == ["measured here"]


def test_imported_models_that_fit_a_card_are_not_measured_here(mixed: Settings) -> None:
    found = read_fits(mixed, memory_gb=80, suite=SUITE).rows
    assert {MODEL, OTHER} <= set(found["model_id"])
    assert not found["is_measured"].any()
    assert set(found["basis"]) == {IMPORTED}


@pytest.mark.parametrize(
    ("page", "params"),
    [
        ("model", {"model": MODEL}),
        ("items", {"items_of": MODEL}),
        ("compare", {"compare": [MODEL, OTHER]}),
    ],
)
def test_imported_runs_say_where_they_come_from_on_each_page(
    mixed: Settings, page: str, params: dict[str, str | list[str]]
) -> None:
    words = said(visit(page, **params)).replace("\\", "")
    assert note_of(mixed).replace("`", "") in words.replace("`", "")


def test_imported_models_have_no_false_facts_on_their_page(mixed: Settings) -> None:
    session = visit("model", model=MODEL)
    words = said(session).replace("\\", "")
    assert "tracker ladder" not in words
    assert f"Not placed: {IMPORTED}" in words
    facts = [element.value for element in session.text]
    assert facts.count("not known") >= 3  # quantization, remote code, device
    assert "0 / 0" not in facts
    (runs,) = [frame.value for frame in session.dataframe if "answered_by" in frame.value]
    assert "output_tokens" not in runs or runs["output_tokens"].isna().all()
    assert list(runs["answered_by"]) == [note_of(mixed)]


@pytest.mark.clock
def test_imported_runs_are_told_by_every_tool_for_agents(mixed: Settings) -> None:
    board = LeaderboardTool(suite=SUITE).told(mixed).document()
    assert HERE not in board["sources"]
    assert board["sources"][0].startswith(IMPORTED)
    assert board["answer"]["models"][0]["origin_note"] == note_of(mixed)
    assert "models[].origin_note" in board["untrusted"]  # the file says who evaluated
    assert LeaderboardTool().told(mixed).document()["sources"] == [HERE]
    assert HERE not in ModelTool(MODEL).told(mixed).document()["sources"]
    items = ItemsTool(run_id_of(mixed)).told(mixed).document()
    assert (HERE in items["sources"], items["answer"]["origin_note"]) == (False, note_of(mixed))
    compared = CompareTool(MODEL, OTHER).told(mixed).document()
    assert HERE not in compared["sources"]
    assert compared["answer"]["tasks"][0]["first_run"]["origin_note"] == note_of(mixed)
    listed = FindModelsTool().told(mixed).document()
    assert len(listed["sources"]) == 2
    origins = {row["model_id"]: row["origin"] for row in listed["answer"]["models"]}
    assert origins["acme/here-8b"] is None
    assert origins[MODEL]["tool"] == "lm-eval"


def test_imported_runs_are_told_by_the_json_routes(mixed: Settings) -> None:
    with TestClient(Starlette(routes=routes.ROUTES)) as client:
        board = client.get(f"/api/leaderboard.json?suite={SUITE}").json()["rows"]
        models = client.get("/api/models.json").json()["rows"]
        runs = client.get("/api/runs.json").json()["rows"]
        placed = client.get(f"/api/placement.json?run_id={run_id_of(mixed)}").json()["rows"]
    assert board[0]["origin_note"] == note_of(mixed)
    for rows in (models, runs):
        tools = {row["model_id"]: row["origin"] and row["origin"]["tool"] for row in rows}
        assert tools == {"acme/here-8b": None, MODEL: "lm-eval", OTHER: "lm-eval"}
    assert (placed["placement"], IMPORTED in placed["placement_note"]) == (None, True)


def test_imported_runs_are_told_by_the_commands(mixed: Settings) -> None:
    shown = command("show", MODEL).stdout
    assert shown.count("lm-eval 0.4.9, file `results_2025") == 1
    listed = command("models")
    assert f"{MODEL}: latest run {IMPORTED}" in listed.stderr
    assert "acme/here-8b: latest" not in listed.stderr
    compared = command("compare", MODEL, OTHER).stdout
    assert note_of(mixed)[:60] in compared
    assert IMPORTED not in command("digest").stdout  # nothing of them counts as news of this machine
