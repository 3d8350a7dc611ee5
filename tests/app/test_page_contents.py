"""The contents of each page for a small store, with the numbers of the code that computes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.data import digests, frontier_views, gap_histories
from app.http import api
from tests.builders.board_builder import AT, BOARD_NAME, board
from tests.builders.some_runs import items, run
from tests.builders.store_builder import (
    CANDIDATES,
    NOW,
    ODD_ID,
    TASKS,
    build_store,
    measure_published,
)
from tests.doubles.app_process import DRAWN_S
from tests.doubles.app_visit import said, shown_facts, visit
from tests.doubles.lock_files import write_lock
from tracker.answers.best_that_fits import CardBudget, answer_best_that_fits
from tracker.answers.frontier import answer_question, frontier_document
from tracker.answers.outlook import outlook
from tracker.errors import TrackerError
from tracker.files.items import write_part, write_run
from tracker.frontier.definitions import DEFINITIONS, HEADLINE
from tracker.frontier.gap import BEING_DRAWN
from tracker.frontier.population import small_name
from tracker.frontier.question import Only, Question
from tracker.frontier.tables import load_tables
from tracker.memory_estimate import params_that_fit
from tracker.records import RunStatus
from tracker.records.published import Batch, SourceScore
from tracker.settings import Settings, load_settings
from tracker.stats import paired_difference
from tracker.store import Store, open_snapshot, publish

FIRST, SECOND = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture(autouse=True)
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    return Settings(home=home)


@pytest.fixture
def drawn() -> None:
    """The draws behind the intervals are there."""
    assert frontier_views.drawn(Question(), wait_s=DRAWN_S) is not None


def column(table: pd.DataFrame, name: str) -> list[Any]:
    return list(table[name])


def best_of_both(session: AppTest) -> list[str]:
    """The links of the first card, which name the best open and the best closed model."""
    labels = [link.proto.label.replace("\\", "") for link in session.get("page_link")]
    return [label for label in labels if label.endswith(("best open model", "best closed model"))]


def shown_gap(session: AppTest) -> list[str]:
    """The headline, the gap and the best of both groups."""
    return [session.title[0].value.replace("\\", ""), session.metric[0].value, *best_of_both(session)]


@pytest.mark.usefixtures("drawn")
def test_frontier_headline_equals_the_command(small: Settings) -> None:
    told = frontier_document(answer_question(Question(), small))
    session = visit("frontier", definition="G1")
    (g1,) = (row for row in told["definitions"] if row["id"] == "G1")
    assert shown_gap(session) == [
        told["sentence"],
        f"{g1['value']:.1f} months",
        f"View {told['best_open']['model']}, the best open model",
        f"View {told['best_closed']['model']}, the best closed model",
    ]
    assert told["sentence"] == f"Open models are {g1['value']:.1f} months behind closed ones"
    assert session.metric[0].label == "Open models trail by (G1)"
    assert f"90% interval: {g1['ci_low']:.1f}–{g1['ci_high']:.1f}" in said(session)


def test_frontier_definitions_are_chosen_by_sentences_and_the_link_has_the_id() -> None:
    box = visit("frontier", definition="g6").selectbox(key="definition")
    assert box.value == "G6"
    assert box.options == [f"{each.title} ({each.id})" for each in DEFINITIONS]


def test_frontier_card_names_the_best_model_for_it_and_what_the_size_costs(small: Settings) -> None:
    session = visit("frontier", card="80 GB")
    best = answer_best_that_fits(CardBudget(80.0, 4.0), small).steps[-1]
    card = session.metric[1]
    assert card.value == f"{best.months_behind:.1f} months (G3)"
    whole = answer_question(Question(), small).gap("G3").value
    assert f"The best open model of any size: {whole:.1f} months" in said(session)
    labels = [link.proto.label.replace("\\", "") for link in session.get("page_link")]
    assert {f"View {best.model}", "What runs on 80 GB"} <= set(labels)


def test_frontier_week_counts_what_the_digest_has() -> None:
    assert digests.week(7, wait_s=DRAWN_S) is not None
    session = visit("frontier")
    n_changes = sum(section.n for section in digests.recent_digest(7).sections)
    assert (session.metric[2].label, session.metric[2].value) == ("Changes this week", f"{n_changes}")


@pytest.mark.usefixtures("drawn")
def test_frontier_table_has_every_definition_with_an_interval() -> None:
    table = visit("frontier").dataframe[0].value
    assert column(table, "id") == [each.id for each in DEFINITIONS]
    assert all("–" in interval or " to " in interval for interval in table["interval"])


@pytest.mark.usefixtures("drawn")
def test_frontier_headline_is_that_of_the_command_line_unless_another_is_chosen(small: Settings) -> None:
    told = frontier_document(answer_question(Question(), small))
    assert visit("frontier").metric[0].label == f"Open models trail by ({told['headline']})"


@pytest.mark.usefixtures("drawn")
def test_frontier_shows_the_gap_over_time_and_the_outlook_of_the_command(small: Settings) -> None:
    assert gap_histories.over_time(Question(), HEADLINE, wait_s=DRAWN_S) is not None
    session = visit("frontier")
    assert "The gap over time" in [header.value for header in session.header]
    shown = [sentence.value.replace("\\", "") for sentence in session.markdown]
    assert set(outlook(Question(), small).sentences) <= set(shown)
    filtered = replace(Question(), only=Only.PRIVATE)
    found = gap_histories.over_time(filtered, HEADLINE, wait_s=DRAWN_S)
    assert found is not None
    assert found.history is not None
    assert found.outlook is None  # not back-tested under filters


@pytest.mark.usefixtures("drawn")
def test_frontier_gap_over_time_with_no_value_is_a_sentence() -> None:
    alone = Question(as_of=date(2023, 3, 20))
    found = gap_histories.over_time(alone, HEADLINE, wait_s=DRAWN_S)
    assert found is not None
    assert "no level in common" in found.problem


def test_frontier_first_view_does_not_wait_for_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier_views, "WAIT_S", 0.0)
    vintage = load_tables().vintages[0]
    frontier_views._background.clear()
    found = frontier_views.frontier(Question(vintage=vintage))
    assert not found.has_intervals
    assert found.gap("G3").value is not None
    assert found.gap("G3").note == BEING_DRAWN


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"without": ["Kimi K3"]}, "without Kimi K3"),
        ({"size": "fits 24 GB"}, "open models up to 10.42B parameters"),
        ({"only": "Private only"}, "private benchmarks only"),
        ({"vintage": "2026-04-29"}, "data as of 2026"),
        ({"terms": "Redistributable only"}, "only scores whose license allows redistribution"),
    ],
    ids=["without a model", "size", "private", "vintage", "license"],
)
def test_frontier_filter_is_named_and_changes_the_answer(params: dict[str, Any], words: str) -> None:
    whole = visit("frontier")
    narrowed = visit("frontier", **params)
    assert words in said(narrowed).replace("\\", "")
    assert shown_gap(narrowed) != shown_gap(whole)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"only": "Private only", "size": "fits 24 GB"}, "no open model is left"),
        ({"axis": "GPQA diamond", "size": "fits 8 GB"}, "no open model is left"),
    ],
    ids=["private and small", "small on a benchmark"],
)
def test_frontier_filters_that_match_nothing_stay_usable(params: dict[str, Any], words: str) -> None:
    session = visit("frontier", **params)
    assert not session.error
    assert words in session.warning[0].value
    assert session.warning[0].proto.title == "No models match these filters"
    session.selectbox(key="size").set_value("Any size").run()
    assert not session.warning
    assert session.metric[0].value.endswith("months")


def test_frontier_excluding_a_model_that_a_filter_dropped_is_no_error() -> None:
    session = visit("frontier", without=["Kimi K3"], size="fits 24 GB")
    assert "without Kimi K3" in said(session)
    alone = visit("frontier", size="fits 24 GB")
    assert shown_gap(session) == shown_gap(alone)
    with pytest.raises(TrackerError, match="no model on this axis is called `nobody`"):
        frontier_views.frontier(Question(without=("nobody",)))


def test_frontier_options_match_the_vintage_and_axis() -> None:
    session = visit("frontier", axis="CritPt", vintage="2026-04-29")
    assert "CritPt" not in session.selectbox(key="axis").options
    assert "CritPt" in session.info[0].value
    on_one = visit("frontier", axis="CritPt").multiselect(key="without").options
    assert set(on_one) < set(visit("frontier").multiselect(key="without").options)


def test_frontier_links_lead_to_the_pages_of_the_best_models_and_estimates() -> None:
    session = visit("frontier", size="fits 24 GB")
    found = frontier_views.frontier(Question(max_params=params_that_fit(24.0)))
    open_best, closed_best = found.best("open")["model"], found.best("closed")["model"]
    assert best_of_both(session) == [
        f"View {open_best}, the best open model",
        f"View {closed_best}, the best closed model",
    ]
    links = [link.proto for link in session.get("page_link")]
    assert "TECI" in open_best
    (estimate,) = (row for row in load_tables().small_open_models if small_name(row) == open_best)
    assert estimate.hub_id is not None
    assert parse_qs(links[0].query_string) == {"model": [estimate.hub_id]}
    page = visit("model", model=estimate.hub_id)
    assert page.selectbox(key="model").value == estimate.hub_id
    assert f"{estimate.index:.1f}" in shown_facts(page)


def test_frontier_opens_any_model_of_the_chart() -> None:
    session = visit("frontier")
    session.selectbox(key="open_model").set_value("Kimi K3").run()
    assert [title.value for title in session.title] == ["Model"]
    assert session.selectbox(key="model").value == "Kimi K3"


def test_frontier_lags_follow_the_filters() -> None:
    whole = frontier_views.benchmark_lags(Question())
    without = frontier_views.benchmark_lags(Question(without=("Kimi K3",)))
    assert "Kimi K3" in set(whole["best_open"])
    assert "Kimi K3" not in set(without["best_open"])
    small = frontier_views.benchmark_lags(Question(max_params=params_that_fit(24.0)))
    facts = load_tables().models
    assert {(facts[name].n_params or 1e18) <= params_that_fit(24.0) for name in small["best_open"]} == {True}
    assert set(small["best_closed"]) <= set(whole["best_closed"])
    assert frontier_views.benchmark_lags(Question(only=Only.PRIVATE))["is_private"].all()
    said_small = said(visit("frontier", size="fits 24 GB"))
    assert f"Not shown: {small['is_stale'].sum()} benchmarks" in said_small


@pytest.mark.usefixtures("drawn")
def test_frontier_headline_has_the_intervals_of_both_groups() -> None:
    found, words = frontier_views.frontier(Question()), said(visit("frontier"))
    for group in ("open", "closed"):
        best = found.best(group)
        assert f"90% interval: {best['ci_low']:.1f}–{best['ci_high']:.1f}" in words


def test_frontier_on_one_benchmark_shows_scores_above_chance() -> None:
    session = visit("frontier", axis="GPQA diamond")
    assert "above chance" in said(session)


def test_frontier_on_a_rating_board_without_dates_says_which_models_lack_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    board(Settings(home=tmp_path))
    newest = SourceScore("unheard-of-1", "LMArena text", 1500.0, variant="overall", unit="rating")
    with Store.open(Settings(home=tmp_path)) as store:
        store.add_batch(Batch(scores=(newest,)), source="lmarena", ingest_id="9", seen_at=AT)
    publish(Settings(home=tmp_path))
    session = visit("frontier", axis=BOARD_NAME)
    shown = said(session).replace("\\", "")
    assert "`unheard-of-1`, among its 3 best models, has no date or no label open or closed" in shown
    assert "tracker ingest models-dev epoch hub-models" in shown
    assert not session.metric


def test_frontier_on_an_ingested_rating_board_equals_the_json_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    board(Settings(home=tmp_path))
    session = visit("frontier", axis=BOARD_NAME, definition="G5")
    assert "acme/atlas appears only on" in said(session)
    assert "rating 1400.0" in said(session)
    assert "1 model of the series is left out" in said(session)
    assert "not from the rating board; filters do not apply" in said(session)
    assert f"gpt-9 appears only on {BOARD_NAME}" in said(session).replace("\\", "")
    assert not best_of_both(session)
    answer = api.frontier_route({"axis": BOARD_NAME})
    (g5,) = (row for row in answer["definitions"] if row["id"] == "G5")
    assert session.metric[0].value == f"{g5['value']:.1f} points"
    assert answer["best_open"]["model"] == "acme/atlas"


def test_frontier_shows_the_age_of_its_data_and_overdue_sources() -> None:
    session = visit("frontier")
    assert "data of 11 Aug 2026" in said(session)
    days = (load_settings().now().date() - date(2026, 8, 11)).days
    badges = [markdown.value for markdown in session.markdown]
    assert any(f"{days} days old" in badge and ":orange-badge" in badge for badge in badges)
    assert any("overdue" in badge for badge in badges)
    assert "Last ingest" not in [metric.label for metric in session.metric]


def test_leaderboard_has_a_row_per_model_and_other_tasks_as_columns() -> None:
    table = visit("leaderboard").dataframe[0].value
    assert set(table["label"]) == {candidate.model.model_id for candidate in CANDIDATES}
    first, second, third, *_ = TASKS
    assert {f"score of {second}", f"± of {third}"} <= set(table.columns)
    assert list(table["score"]) == sorted(table["score"], reverse=True), f"ranked by {first}"


def test_leaderboard_has_no_average_column() -> None:
    table = visit("leaderboard").dataframe[0].value
    assert not any("mean" in name or "average" in name for name in table.columns)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"fits": "8 GB"}, {"acme/tiny-135m-instruct", ODD_ID}),
        ({"license": ["mit"]}, {SECOND}),
        ({"by": ["acme"]}, {FIRST, "acme/tiny-135m-instruct"}),
        ({"params": "up to 4B", "find": "garden"}, {"cobalt/granite-garden-3b-base"}),
    ],
    ids=["card", "license", "organization", "size and name"],
)
def test_leaderboard_is_narrowed_by(params: dict[str, Any], expected: set[str]) -> None:
    assert set(visit("leaderboard", **params).dataframe[0].value["label"]) == expected


def test_leaderboard_marks_claimed_scores_and_leaves_them_unranked() -> None:
    table = visit("leaderboard", claimed="true").dataframe[0].value
    claimed = table[table["basis"] == "claimed"]
    assert "echo/harbour-14b" in set(claimed["label"])
    assert claimed["rank"].isna().all()


@pytest.mark.parametrize("model_id", ["echo/harbour-14b", "fjord/kelp-1b"], ids=["claimed", "on the Hub"])
def test_model_page_opens_for_a_model_known_only_from_the_hub(model_id: str) -> None:
    session = visit("model", model=model_id)
    assert not session.info[0].value.startswith("Ignored parts of the link")
    assert session.selectbox(key="model").value == model_id
    assert session.code[0].value == f"tracker bench {model_id}"
    assert {"mit", "apache-2.0"} & set(shown_facts(session))
    claims = [table.value for table in session.dataframe if "by" in table.value]
    assert [list(table["score"]) for table in claims] == ([[0.88]] if model_id.startswith("echo") else [])
    session.selectbox(key="model").set_value(FIRST).run()
    assert session.code[0].value == FIRST


def test_model_page_names_an_unknown_repository_and_shows_nothing_else() -> None:
    session = visit("model", model="nobody/nothing")
    assert "no model is called" in session.error[0].value
    assert "nobody/nothing" in session.error[0].value
    assert (session.header, session.dataframe) == ([], [])


def test_leaderboard_keeps_only_complete_rows_on_request() -> None:
    table = visit("leaderboard", claimed="true", complete="true").dataframe[0].value
    assert set(table["basis"]) == {"measured here"}


def test_leaderboard_reports_filters_that_match_nothing() -> None:
    assert "No models match these filters" in said(visit("leaderboard", find="nobody"))


def test_run_it_shows_models_that_fit_and_the_command() -> None:
    session = visit("run_it", card="24 GB", context="4,096 tokens")
    table = session.dataframe[0].value
    assert {"needs 4096", "needs 131072"} <= set(table.columns)
    assert (table["needs 4096"] <= 24e9 / 2**30).all()
    assert "fjord/kelp-1b" in set(table["label"]), "a model of the Hub that was not measured"
    assert session.code[0].value.splitlines()[1] == f"tracker bench {table['label'][0]} --max-model-len 4096"


def test_run_it_command_quotes_odd_characters() -> None:
    session = visit("run_it", command_for=ODD_ID)
    assert f"'{ODD_ID}'" in session.code[0].value


def test_run_it_lists_fewer_models_for_a_small_card_and_long_context() -> None:
    few = visit("run_it", card="8 GB", context="131,072 tokens").dataframe[0].value
    many = visit("run_it", card="80 GB", context="4,096 tokens").dataframe[0].value
    assert set(few["label"]) < set(many["label"])


def test_compare_page_pairs_shared_items(small: Settings) -> None:
    session = visit("compare", compare=[FIRST, SECOND])
    table = session.dataframe[0].value.set_index("task")
    with open_snapshot(small) as snapshot:
        rows = snapshot.query("paired_items", first=FIRST, second=SECOND, suite="quick")
    assert set(table.index) == set(TASKS)
    for task in TASKS:
        of_task = [row for row in rows if row["task"] == task]
        expected = paired_difference(
            [row["first_score"] for row in of_task], [row["second_score"] for row in of_task]
        )
        assert table.loc[task, "difference"] == f"{100 * expected.value:+.1f}"
        assert table.loc[task, "n_items"] == len(of_task)


def test_compare_page_takes_four_models_on_their_shared_items() -> None:
    names = [candidate.model.model_id for candidate in CANDIDATES[:4]]
    session = visit("compare", compare=names)
    assert len(session.dataframe[0].value) == 6 * len(TASKS)
    split = session.dataframe[1].value
    assert set(split.columns) == {"task", "doc_id", "solved_by", "missed_by"}


def test_compare_page_reports_models_without_shared_items() -> None:
    session = visit("compare", compare=[FIRST, "delta/colossus-405b"])
    assert "share no items" in said(session)


def test_runs_page_queue_shows_order_reasons_and_parked_jobs() -> None:
    session = visit("runs")
    queue = session.dataframe[0].value
    assert column(queue, "model_id")[0] == "echo/harbour-14b"
    assert queue["why"][0] == "new this week; claims 88% on count_letters"
    assert "needs 72 GB, 24 GB are there" in set(queue["parked_reason"])
    failures = session.dataframe[1].value
    assert list(failures["reason"]) == ["gated", "does_not_fit"]
    assert all(failures["hint"])


def test_runs_page_shows_the_progress_of_a_running_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    under_way = replace(run(9), status=RunStatus.RUNNING, ended_at=None, scores=(), n_items=0)
    write_run(settings.items_path, under_way)
    write_part(settings.items_path, under_way.run_id, "0" * 32, items("count_letters", 90))
    write_lock(settings, f"worker-{under_way.run_id}", runs=[under_way.run_id])
    session = visit("runs")
    assert "acme/atlas\\-8b, quick" in [header.value for header in session.subheader]
    progress = session.get("progress")[0].proto
    assert (progress.value, progress.text) == (25, "90 of about 360 items")


def test_runs_page_leaves_out_a_run_whose_process_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    under_way = replace(run(9), status=RunStatus.RUNNING, ended_at=None, scores=(), n_items=0)
    write_run(settings.items_path, under_way)
    write_lock(settings, "worker-gone", parent=2**22 + 1, runs=[under_way.run_id])
    write_lock(settings, "worker-number-used-again", parent_started_at=0.0, runs=[under_way.run_id])
    write_lock(settings, "worker-half").write_text("{")
    write_lock(settings, "worker-unknown").write_text("{}")
    assert "Nothing is running" in said(visit("runs"))


@pytest.mark.clock
def test_changes_page_names_new_models_and_a_claim_that_did_not_hold() -> None:
    words = said(visit("changes")).replace("\\", "")
    assert "[fjord/kelp-1b](/model?model=fjord%2Fkelp-1b) (1.2B, chat, mit)" in words
    claim = "on count_letters: claimed 82.0% by Acme, measured here 63.3%"
    assert f"[acme/atlas-2-8b](/model?model=acme%2Fatlas-2-8b) {claim}" in words
    assert "we*ird_[org]/<b>mo`del</b>" in words, "a name keeps its characters"


@pytest.mark.clock
def test_sources_page_shows_license_date_and_status_of_each_source() -> None:
    session = visit("sources")
    table = session.dataframe[0].value.set_index("title")
    assert table.loc["LMArena leaderboard", "status"] == "skipped (unavailable)"
    assert table["license"].notna().all()
    assert table.loc["Hugging Face Hub, models", "completed_at"] is not pd.NaT
    words = said(session).replace("\\", "")
    assert "Capability index and evaluations run by Epoch AI" in words
    assert "Of the 2,249 scores of 2026-08-11, 734 have a license that allows redistribution" in words
    terms = session.dataframe[1].value.set_index("measured_by")
    assert terms.loc["Vals AI, ProofBench", ["license", "redistribution", "n_scores"]].tolist() == [
        "all rights reserved",
        "not allowed",
        45,
    ]
    assert "The index" in said(session)


@pytest.mark.usefixtures("drawn")
def test_model_page_placement_of_a_model_measured_on_index_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_published(build_store(tmp_path), hub_id="moonshotai/Kimi-K3")
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("model", model="Kimi K3")
    assert "Placement" in [header.value for header in session.header]
    assert "gsm8k" in shown_facts(session)
    assert session.code[0].value == "moonshotai/Kimi-K3"
