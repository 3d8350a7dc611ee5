"""What each page says of a small store: the numbers are those of the parts that compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import pytest

from app import api, frontier_data
from tests.app_visit import said, shown_facts, visit
from tests.board_builder import BOARD_NAME, board
from tests.lock_files import write_lock
from tests.some_runs import items, run
from tests.store_builder import CANDIDATES, ODD_ID, TASKS, build_store, measure_published
from tracker.errors import TrackerError
from tracker.frontier.answer import frontier_document
from tracker.frontier.population import params_that_fit, small_name
from tracker.frontier.question import Only, Question
from tracker.frontier.tables import load_tables
from tracker.items import write_part, write_run
from tracker.records import RunStatus
from tracker.settings import Settings
from tracker.stats import paired_difference
from tracker.store import open_snapshot

FIRST, SECOND = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture(autouse=True)
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    return Settings(home=home)


@pytest.fixture
def drawn() -> None:
    """The draws behind the intervals are there."""
    assert frontier_data.drawn(Question(), wait_s=120.0) is not None


def column(table: pd.DataFrame, name: str) -> list[Any]:
    return list(table[name])


@pytest.mark.usefixtures("drawn")
def test_the_headline_is_what_the_command_says(small: Settings) -> None:
    told = frontier_document(load_tables(), Question(), small.frontier_path)
    session = visit("frontier.py", definition="G1")
    values = [metric.value.replace("\\", "") for metric in session.metric]
    (g1,) = (row for row in told["definitions"] if row["id"] == "G1")
    assert values[:3] == [
        f"{g1['value']:.1f} months",
        told["best_open"]["model"],
        told["best_closed"]["model"],
    ]
    assert session.metric[0].label == "Open is behind by (G1)"
    assert f"90 % interval {g1['ci_low']:.1f} – {g1['ci_high']:.1f}" in said(session)


@pytest.mark.usefixtures("drawn")
def test_the_table_has_all_six_definitions_with_intervals() -> None:
    table = visit("frontier.py").dataframe[0].value
    assert column(table, "id") == ["G1", "G2", "G3", "G4", "G5", "G6"]
    assert all(" – " in interval for interval in table["interval"])


def test_the_first_view_does_not_wait_for_the_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier_data, "WAIT_S", 0.0)
    vintage = load_tables().vintages[0]
    frontier_data._desk.clear()
    found = frontier_data.frontier(Question(vintage=vintage))
    assert not found.has_intervals
    assert found.gap("G3").value is not None
    assert found.gap("G3").note == frontier_data.BEING_DRAWN


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"without": ["Kimi K3"]}, "without Kimi K3"),
        ({"size": "fits 24 GB"}, "open models up to 10 B parameters"),
        ({"only": "Private only"}, "private benchmarks only"),
        ({"vintage": "2026-04-29"}, "as believed on 2026"),
    ],
    ids=["without a model", "size", "private", "vintage"],
)
def test_a_filter_of_the_frontier_is_named_and_moves_the_answer(params: dict[str, Any], words: str) -> None:
    whole = visit("frontier.py")
    narrowed = visit("frontier.py", **params)
    assert words in said(narrowed).replace("\\", "")
    assert [m.value for m in narrowed.metric[:3]] != [m.value for m in whole.metric[:3]]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"only": "Private only", "size": "fits 24 GB"}, "no open model is left"),
        ({"axis": "GPQA diamond", "size": "fits 8 GB"}, "no open model is left"),
    ],
    ids=["private and small", "small on a benchmark"],
)
def test_filters_that_leave_nothing_are_said_and_stay_usable(params: dict[str, Any], words: str) -> None:
    session = visit("frontier.py", **params)
    assert not session.error
    assert words in session.warning[0].value
    assert session.warning[0].proto.title == "These filters leave nothing to compare"
    session.selectbox(key="size").set_value("Any size").run()
    assert not session.warning
    assert session.metric[0].value.endswith("months")


def test_a_model_to_leave_out_that_another_filter_dropped_already_is_no_mistake() -> None:
    session = visit("frontier.py", without=["Kimi K3"], size="fits 24 GB")
    assert "without Kimi K3" in said(session)
    alone = visit("frontier.py", size="fits 24 GB")
    assert [one.value for one in session.metric[:3]] == [one.value for one in alone.metric[:3]]
    with pytest.raises(TrackerError, match="no model on this axis is called `nobody`"):
        frontier_data.frontier(Question(without=("nobody",)))


def test_the_benchmarks_and_models_on_offer_are_those_of_the_day_and_of_the_axis() -> None:
    session = visit("frontier.py", axis="CritPt", vintage="2026-04-29")
    assert "CritPt" not in session.selectbox(key="axis").options
    assert "CritPt" in session.info[0].value
    on_one = visit("frontier.py", axis="CritPt").multiselect(key="without").options
    assert set(on_one) < set(visit("frontier.py").multiselect(key="without").options)


def test_the_best_models_lead_to_their_pages_also_where_they_are_estimates() -> None:
    session = visit("frontier.py", size="fits 24 GB")
    open_best, closed_best = [metric.value.replace("\\", "") for metric in session.metric[1:3]]
    links = [link.proto for link in session.get("page_link")]
    assert [link.label.replace("\\", "") for link in links] == [
        f"What is behind it: {open_best}",
        f"The best closed one: {closed_best}",
    ]
    assert "TECI" in open_best
    (estimate,) = (row for row in load_tables().small_open_models if small_name(row) == open_best)
    assert estimate.hub_id is not None
    assert parse_qs(links[0].query_string) == {"model": [estimate.hub_id]}
    page = visit("model.py", model=estimate.hub_id)
    assert page.selectbox(key="model").value == estimate.hub_id
    assert f"{estimate.index:.1f}" in shown_facts(page)


def test_any_model_of_the_chart_can_be_opened() -> None:
    session = visit("frontier.py")
    session.selectbox(key="open_model").set_value("Kimi K3").run()
    assert [title.value for title in session.title] == ["Model"]
    assert session.selectbox(key="model").value == "Kimi K3"


def test_the_lags_on_each_benchmark_go_by_the_filters_too() -> None:
    whole = frontier_data.benchmark_lags(Question())
    without = frontier_data.benchmark_lags(Question(without=("Kimi K3",)))
    assert "Kimi K3" in set(whole["best_open"])
    assert "Kimi K3" not in set(without["best_open"])
    small = frontier_data.benchmark_lags(Question(max_params=params_that_fit(24.0)))
    facts = load_tables().models
    assert {(facts[name].n_params or 1e18) <= params_that_fit(24.0) for name in small["best_open"]} == {True}
    assert set(small["best_closed"]) <= set(whole["best_closed"])
    assert frontier_data.benchmark_lags(Question(only=Only.PRIVATE))["is_private"].all()
    said_small = said(visit("frontier.py", size="fits 24 GB"))
    assert f"Left out: {small['is_stale'].sum()} benchmarks" in said_small


@pytest.mark.usefixtures("drawn")
def test_the_best_of_both_groups_have_their_intervals() -> None:
    found, words = frontier_data.frontier(Question()), said(visit("frontier.py"))
    for group in ("open", "closed"):
        best = found.best(group)
        assert f"90 % interval {best['ci_low']:.1f} – {best['ci_high']:.1f}" in words


def test_the_frontier_can_be_asked_on_one_benchmark() -> None:
    session = visit("frontier.py", axis="GPQA diamond")
    assert "above chance" in said(session)


def test_the_frontier_can_be_asked_on_an_elo_board_that_was_ingested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    board(Settings(home=tmp_path))
    session = visit("frontier.py", axis=BOARD_NAME, definition="G5")
    assert [metric.value for metric in session.metric[1:3]] == ["acme/atlas", r"gpt\-9"]
    assert "rating 1400.0" in said(session)
    assert "1 model of the series is left out" in said(session)
    assert "not of the board; not filtered" in said(session)
    assert f"gpt-9 is known from {BOARD_NAME} alone" in said(session).replace("\\", "")
    assert not session.get("page_link")
    answer = api.frontier({"axis": BOARD_NAME})
    (g5,) = (row for row in answer["definitions"] if row["id"] == "G5")
    assert session.metric[0].value == f"{g5['value']:.1f} points"
    assert answer["best_open"]["model"] == "acme/atlas"


def test_the_frontier_says_when_the_sources_were_asked_and_which_are_overdue() -> None:
    session = visit("frontier.py")
    assert session.metric[3].label == "Last ingest"
    assert any("overdue" in markdown.value for markdown in session.markdown)


def test_the_leaderboard_has_a_row_per_model_and_the_other_tasks_as_columns() -> None:
    table = visit("leaderboard.py").dataframe[0].value
    assert set(table["label"]) == {candidate.model.model_id for candidate in CANDIDATES}
    first, second, third, *_ = TASKS
    assert {f"score of {second}", f"± of {third}"} <= set(table.columns)
    assert list(table["score"]) == sorted(table["score"], reverse=True), f"ranked by {first}"


def test_no_column_of_the_leaderboard_is_an_average() -> None:
    table = visit("leaderboard.py").dataframe[0].value
    assert not any("mean" in name or "average" in name for name in table.columns)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"fits": "8 GB"}, {"acme/tiny-135m-instruct", ODD_ID}),
        ({"licence": ["mit"]}, {SECOND}),
        ({"by": ["acme"]}, {FIRST, "acme/tiny-135m-instruct"}),
        ({"params": "up to 4B", "find": "garden"}, {"cobalt/granite-garden-3b-base"}),
    ],
    ids=["card", "licence", "organisation", "size and name"],
)
def test_the_leaderboard_is_narrowed_by(params: dict[str, Any], expected: set[str]) -> None:
    assert set(visit("leaderboard.py", **params).dataframe[0].value["label"]) == expected


def test_a_claimed_score_is_marked_and_has_no_rank() -> None:
    table = visit("leaderboard.py", claimed="true").dataframe[0].value
    claimed = table[table["basis"] == "claimed"]
    assert "echo/harbour-14b" in set(claimed["label"])
    assert claimed["rank"].isna().all()


@pytest.mark.parametrize("model_id", ["echo/harbour-14b", "fjord/kelp-1b"], ids=["claimed", "on the Hub"])
def test_a_model_that_is_known_from_the_hub_alone_has_a_page_when_asked_for(model_id: str) -> None:
    session = visit("model.py", model=model_id)
    assert not session.info[0].value.startswith("This page has nothing")
    assert session.selectbox(key="model").value == model_id
    assert session.code[0].value == f"tracker bench {model_id}"
    assert {"mit", "apache-2.0"} & set(shown_facts(session))
    claims = [table.value for table in session.dataframe if "by" in table.value]
    assert [list(table["score"]) for table in claims] == ([[0.88]] if model_id.startswith("echo") else [])
    session.selectbox(key="model").set_value(FIRST).run()
    assert session.code[0].value == FIRST


def test_a_repository_of_which_nothing_is_known_has_no_page() -> None:
    session = visit("model.py", model="nobody/nothing")
    assert "nothing for a part of the link" in session.info[0].value
    assert "nobody/nothing" not in session.selectbox(key="model").options


def test_only_complete_rows_are_kept_when_asked() -> None:
    table = visit("leaderboard.py", claimed="true", complete="true").dataframe[0].value
    assert set(table["basis"]) == {"measured here"}


def test_a_name_that_no_model_has_is_said() -> None:
    assert "No model passes these filters" in said(visit("leaderboard.py", find="nobody"))


def test_a_card_shows_what_fits_by_context_and_the_command_to_type() -> None:
    session = visit("run_it.py", card="24 GB", context="4,096 tokens")
    table = session.dataframe[0].value
    assert {"needs 4096", "needs 131072"} <= set(table.columns)
    assert (table["needs 4096"] <= 24e9).all()
    assert "fjord/kelp-1b" in set(table["label"]), "a model of the Hub that was not measured"
    assert session.code[0].value.splitlines()[1] == f"tracker bench {table['label'][0]} --max-model-len 4096"


def test_a_command_quotes_a_name_with_odd_characters() -> None:
    session = visit("run_it.py", command_for=ODD_ID)
    assert f"'{ODD_ID}'" in session.code[0].value


def test_a_small_card_and_a_long_context_leave_fewer_models() -> None:
    few = visit("run_it.py", card="8 GB", context="131,072 tokens").dataframe[0].value
    many = visit("run_it.py", card="80 GB", context="4,096 tokens").dataframe[0].value
    assert set(few["label"]) < set(many["label"])


def test_a_comparison_is_paired_on_the_shared_items(small: Settings) -> None:
    session = visit("compare.py", compare=[FIRST, SECOND])
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


def test_four_models_are_compared_on_what_all_of_them_answered() -> None:
    names = [candidate.model.model_id for candidate in CANDIDATES[:4]]
    session = visit("compare.py", compare=names)
    assert len(session.dataframe[0].value) == 6 * len(TASKS)
    split = session.dataframe[1].value
    assert set(split.columns) == {"task", "doc_id", "solved_by", "missed_by"}


def test_models_without_a_common_suite_are_told_so() -> None:
    session = visit("compare.py", compare=[FIRST, "delta/colossus-405b"])
    assert "have no item in common" in said(session)


def test_the_queue_says_what_is_next_and_why_and_what_is_parked_because_of_what() -> None:
    session = visit("runs.py")
    queue = session.dataframe[0].value
    assert column(queue, "model_id")[0] == "echo/harbour-14b"
    assert queue["why"][0] == "new this week; claims 88 % on count_letters"
    assert "needs 72 GB, 24 GB are there" in set(queue["parked_reason"])
    failures = session.dataframe[1].value
    assert list(failures["reason"]) == ["gated", "does_not_fit"]
    assert all(failures["hint"])


def test_a_run_under_way_is_shown_with_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = build_store(tmp_path)
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    under_way = replace(run(9), status=RunStatus.RUNNING, ended_at=None, scores=(), n_items=0)
    write_run(settings.items_path, under_way)
    write_part(settings.items_path, under_way.run_id, "0" * 32, items("count_letters", 90))
    write_lock(settings, f"worker-{under_way.run_id}", runs=[under_way.run_id])
    session = visit("runs.py")
    assert "acme/atlas\\-8b, quick" in [header.value for header in session.subheader]
    progress = session.get("progress")[0].proto
    assert (progress.value, progress.text) == (25, "90 of about 360 items")


def test_a_run_whose_process_is_gone_is_not_under_way(
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
    assert "Nothing is running" in said(visit("runs.py"))


def test_what_changed_names_new_models_and_a_claim_that_did_not_hold() -> None:
    words = said(visit("changes.py")).replace("\\", "")
    assert "fjord/kelp-1b (1.2B, chat, mit)" in words
    assert "acme/atlas-2-8b on count_letters: claimed 82.0% by Acme, measured here 63.3%" in words
    assert "we*ird_[org]/<b>mo`del</b>" in words, "a name keeps its characters"


def test_each_source_has_its_licence_its_date_and_what_became_of_it() -> None:
    session = visit("sources.py")
    table = session.dataframe[0].value.set_index("title")
    assert table.loc["LMArena leaderboard", "status"] == "skipped unavailable"
    assert table["license"].notna().all()
    assert table.loc["Hugging Face Hub, models", "completed_at"] is not pd.NaT
    assert "CC BY 4.0" in said(session).replace("\\", "")
    assert "The index" in said(session)


@pytest.mark.usefixtures("drawn")
def test_a_model_measured_on_the_benchmarks_of_the_index_is_placed_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_published(build_store(tmp_path), hub_id="moonshotai/Kimi-K3")
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("model.py", model="Kimi K3")
    assert "Placement" in [header.value for header in session.header]
    assert "gsm8k" in shown_facts(session)
    assert session.code[0].value == "moonshotai/Kimi-K3"
