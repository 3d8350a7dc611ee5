"""The research page: the numbers of the board, every trial as text, and the stop button."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.data import queries, running_studies
from app.http import api
from app.pages.research import charts as research_charts
from app.pages.research import rows as researching
from tests.builders.some_studies import (
    MODEL,
    TPE,
    store_study,
    store_suite_run,
    study,
    suite_run,
)
from tests.builders.store_builder import HOSTILE, LONG, build_store
from tests.builders.studies_builder import (
    AGENT,
    CODE,
    GAINS,
    N_TRIALS,
    PAUSED,
    begin,
    stop_path,
)
from tests.doubles.app_visit import said, shown_facts, visit
from tests.doubles.lock_files import write_lock
from tracker.answers.agent_board import Group, StudyRow, board
from tracker.errors import TrackerError
from tracker.records.studies import StudyStatus, Track
from tracker.settings import Settings
from tracker.store import open_snapshot

FIRST = study(1).study_id
CODE_ID, PAUSED_ID = study(CODE).study_id, study(PAUSED).study_id


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture
def small(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRACKER_HOME", str(small_home))
    return Settings(home=small_home)


def test_research_agents_stand_beside_the_line_of_an_ngram_table() -> None:
    plain = Group("cpu", "params", 10, "c", "r", (), ())
    assert researching.ngram_line(plain) == ""
    assert researching.ngram_line(replace(plain, baseline_bpb=2.05, ngram_bpb=2.262)) == (
        "The defaults have 2.050 bits per byte on test, an n-gram table on the same corpus 2.262."
    )


def test_research_agents_are_ranked_over_tasks_only_with_results_on_two(own: Settings) -> None:
    first = study(1)
    store_study(own, first)
    store_study(own, study(2, agent=TPE, gain=0.16))
    assert researching.task_frame(queries.complete_studies()).empty
    store_study(own, replace(study(3), tier="smoke"))
    store_study(own, replace(study(4, agent=TPE), tier="smoke"))
    frame = researching.task_frame(queries.complete_studies())
    expected = [("tpe", 1.0, "cpu, smoke"), ("acme/atlas-8b", 0.75, "cpu, smoke")]
    assert list(zip(frame["agent"], frame["share_of_tpe"], frame["tasks"], strict=True)) == expected
    assert "share of the gain that TPE" in said(visit("research"))


def test_research_study_says_where_it_trained(own: Settings) -> None:
    store_study(own, replace(study(1), executor="ray"))
    session = visit("research", study=study(1).study_id)
    assert "Trained on" in said(session)
    assert "ray" in shown_facts(session)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A store that a test may change."""
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    return Settings(home=tmp_path)


def test_research_agents_equal_the_command_and_stay_within_a_group(small: Settings) -> None:
    with open_snapshot(small) as snapshot:
        groups = board([StudyRow(**row) for row in snapshot.query("research_board", tier=None, track=None)])
    (expected,) = (group for group in groups if group.n_trials == N_TRIALS)
    table = visit("research").dataframe[0].value
    assert list(table["agent"]) == [row.agent for row in expected.rows] == ["tpe", AGENT, "random"]
    assert list(table["gain_bpb"]) == pytest.approx([row.gain_bpb for row in expected.rows])
    assert list(table["share_of_tpe"]) == pytest.approx([1.0, 7 / 9, 4 / 9], abs=0.01)
    assert set(table["falsely_kept"]) == {"0 of 6 (0.0–45.9%)"}
    others = visit("research").selectbox(key="group").options[1:]
    assert visit("research", group=others[0]).dataframe[0].value["n_studies"].sum() < len(GAINS) * 3


@pytest.mark.usefixtures("small")
def test_research_trials_include_those_not_kept() -> None:
    session = visit("research", study=FIRST, trial="3")
    trials = next(table.value for table in session.dataframe if "verdict" in table.value)
    assert list(trials["slot"]) == list(range(N_TRIALS + 2))
    assert set(trials["verdict"]) == {"kept", "rejected", "invalid", "placebo, not kept"}
    assert trials["what"][3] == "weight_decay default → 3.0"
    assert "Trial 3: kept" in said(session)
    assert "Claimed gain (val)" in said(session)


@pytest.mark.usefixtures("small")
def test_research_page_shows_hostile_agent_text_as_plain_characters() -> None:
    session = visit("research", study=CODE_ID, trial="0")
    shown = [block.value.strip("\n") for block in session.code]
    assert any("<b>none</b>" in block for block in shown), "the diff"
    assert sum("<script>document.title" in block for block in shown) == 2, "the rationale and the reply"
    assert any("\\x1b[31mred" in block for block in shown)
    assert not any("<script>" in block.value for block in session.markdown)


@pytest.mark.usefixtures("small")
def test_research_page_cuts_a_ten_megabyte_reply() -> None:
    session = visit("research", study=CODE_ID, trial="1")
    assert max(len(block.value) for block in session.code) < 21_000
    assert f"Showing the first 20,000 of {len(LONG):,} characters" in said(session)


@pytest.mark.usefixtures("small")
def test_research_page_shows_why_a_study_paused_and_the_resume_command() -> None:
    session = visit("research", study=PAUSED_ID)
    assert f"tracker research resume {PAUSED_ID}" in [block.value for block in session.code]
    assert "does not answer" in session.warning[0].value


@pytest.mark.usefixtures("small")
def test_research_page_switches_to_a_study_with_fewer_trials() -> None:
    session = visit("research", study=FIRST, trial="11")
    session.selectbox(key="study").set_value(CODE_ID).run()
    assert not session.exception
    assert session.selectbox(key="trial").value == "0"


@pytest.mark.usefixtures("small")
def test_model_page_lists_its_studies_as_an_agent() -> None:
    session = visit("model", model=AGENT)
    assert "Auto-research" in [header.value for header in session.header]
    studies = next(table.value for table in session.dataframe if "study_id" in table.value)
    assert list(studies["study_id"]) == [CODE_ID, PAUSED_ID, *(study(n).study_id for n in (3, 2, 1))]


def test_model_page_exists_for_a_model_that_was_only_an_agent(own: Settings) -> None:
    made = store_study(own, study(1))
    session = visit("model", model=made.agent.name)
    assert session.selectbox(key="model").value == made.agent.name
    studies = next(table.value for table in session.dataframe if "study_id" in table.value)
    assert list(studies["study_id"]) == [made.study_id]
    assert "No benchmarks yet" in said(session)


@pytest.mark.usefixtures("small")
def test_research_confirmed_gain_leads_to_its_pairs_on_test() -> None:
    session = visit("research", study=FIRST)
    pairs = next(table.value for table in session.dataframe if "test_bpb" in table.value)
    assert set(pairs["phase"]) == {"final test"}
    by_role = pairs.groupby("role")["test_bpb"].mean()
    assert f"{by_role['incumbent'] - by_role['candidate']:+.4f}" in " ".join(shown_facts(session))


@pytest.mark.usefixtures("small")
def test_research_curves_start_at_zero_and_end_at_the_confirmed_gain() -> None:
    key = next(iter(researching.group_names(queries.studies()).values()))
    curves = researching.gain_curves(queries.study_curves(), key)
    assert set(curves.groupby("study_id")["number"].max()) == {N_TRIALS}
    assert not curves[curves["number"] == 0]["gain_bpb"].any()
    kept = [row["confirmed_gain_bpb"] for row in queries.trials(FIRST) if row["verdict"] == "accepted"]
    last = curves[curves["study_id"] == FIRST]["gain_bpb"].iloc[-1]
    assert last == pytest.approx(sum(kept))
    bands = researching.gain_bands(curves)
    assert set(bands["agent"]) == {"random", "tpe"}
    assert (bands["low"] <= bands["high"]).all()
    assert set(bands["n_seeds"]) == {3}


@pytest.mark.usefixtures("small")
def test_research_charts_are_valid_and_draw_an_agent_alike() -> None:
    key = next(iter(researching.group_names(queries.studies()).values()))
    curves = researching.gain_curves(queries.study_curves(), key)
    agents = researching.shown_agents(curves, most=research_charts.SHOWN_AGENTS)
    assert agents == ["random", "tpe", AGENT]
    group = researching.agent_group(queries.complete_studies(), key)
    assert group is not None
    frame, profile = researching.agent_frame(group), researching.gain_profile(group.rows)
    losses = researching.loss_curves(queries.trainings(FIRST, 0))
    assert research_charts.progress_chart(curves, researching.gain_bands(curves), agents).to_dict()
    assert research_charts.gain_chart(frame).to_dict()
    assert research_charts.loss_chart(losses).to_dict()
    assert research_charts.agent_legend(agents).to_dict()
    (rows,) = research_charts.profile_chart(profile, agents).to_dict()["datasets"].values()
    marks = research_charts.agent_marks(agents)
    assert {(row["agent"], row["color"]) for row in rows} == set(
        zip(marks["agent"], marks["color"], strict=True)
    )
    assert f"{AGENT} confirmed +0.0700, claimed +0.1000" in research_charts.gain_alt(frame)
    assert "over 3 studies" in research_charts.progress_alt(curves, agents)
    assert "most from" in research_charts.profile_alt(profile, agents)
    assert research_charts.loss_alt(losses).startswith("Loss of 12 trainings")


def test_research_agents_of_track_code_are_compared_with_params_baselines(own: Settings) -> None:
    for number, agent, track in ((1, TPE, Track.PARAMS), (2, MODEL, Track.PARAMS), (3, MODEL, Track.CODE)):
        made = study(number, agent=agent, gain=0.1 * number, track=track, seed=0)
        store_study(own, made)
    key = next(k for k in researching.group_names(queries.studies()).values() if k[1] == "code")
    group = researching.agent_group(queries.complete_studies(), key)
    assert group is not None
    frame = researching.agent_frame(group)
    assert list(frame["agent"]) == ["acme/atlas-8b", "tpe"]
    assert list(frame["track"].fillna("")) == ["", "params"]
    assert frame["share_of_tpe"][0] == pytest.approx(3.0)
    curves = researching.gain_curves(queries.study_curves(), key)
    assert set(curves["study_id"]) == {study(n).study_id for n in (1, 3)}
    assert "from the `params` track" in said(visit("research", group=researching.group_name(key)))


def test_research_curves_have_the_names_of_the_agent_table(own: Settings) -> None:
    begun = {"status": StudyStatus.PAUSED, "gain": None}
    for number, wave, more in ((1, 1, {}), (2, 4, {}), (3, 8, begun)):
        store_study(own, study(number, agent=MODEL, wave_size=wave, **more))
    (key,) = researching.group_names(queries.studies()).values()
    group = researching.agent_group(queries.complete_studies(), key)
    assert group is not None
    board_names = {f"acme/atlas-8b (wave {wave})" for wave in (1, 4)}
    assert {row.agent for row in group.rows} == board_names
    curves = researching.gain_curves(queries.study_curves(), key)
    assert set(curves["agent"]) == board_names | {"acme/atlas-8b (wave 8)"}


def test_research_page_shows_the_last_result_of_scripted_attacks(own: Settings) -> None:
    store_study(own, study(1))
    assert "scripted attacks" not in said(visit("research"))
    store_suite_run(own, suite_run(1, "bait", "peek"))
    store_suite_run(own, suite_run(2, "bait", is_whole=False))
    line = "0 of 2 scripted attacks succeeded (last run 2026-11-24, sandbox: bubblewrap)"
    assert line in said(visit("research"))


@pytest.mark.usefixtures("small")
def test_research_json_route_has_the_agents() -> None:
    groups = api.research_route({})
    (one,) = (group for group in groups if group["n_trials"] == N_TRIALS)
    assert {row["agent"] for row in one["rows"]} == set(GAINS)
    json.dumps(groups, allow_nan=False)


def test_research_live_study_stops_after_two_clicks_only(own: Settings) -> None:
    running = begin(own)
    session = visit("research")
    progress = session.get("progress")[0].proto
    assert (progress.value, progress.text) == (40, "4 of 10 trials")
    path = stop_path(own, running)
    session.button(key=f"ask_{running.study_id}").click().run()
    assert not path.exists()
    session.button(key=f"keep_{running.study_id}").click().run()
    session.button(key=f"ask_{running.study_id}").click().run()
    session.button(key=f"stop_{running.study_id}").click().run()
    assert path.read_bytes() == b""
    session.run()
    assert "Stopping…" in said(session)
    assert not [button for button in session.button if button.key == f"ask_{running.study_id}"]


@pytest.mark.parametrize(
    "holder", [{"parent": 2**22 + 1}, {"parent_started_at": 0.0}], ids=["gone", "number used again"]
)
def test_research_study_of_a_dead_process_is_interrupted_and_cannot_be_stopped(
    own: Settings, holder: dict[str, float]
) -> None:
    running = begin(own)
    write_lock(own, f"study-{running.study_id}", study=running.study_id, **holder)
    session = visit("research", study=running.study_id)
    assert "No study is running" in said(session)
    assert "interrupted" in shown_facts(session)
    assert f"tracker research resume {running.study_id}" in [block.value for block in session.code]
    with pytest.raises(TrackerError, match="is no longer running"):
        running_studies.ask_to_stop(own, running.study_id)
    assert not stop_path(own, running).exists()


def test_research_lock_with_a_hostile_study_name_is_no_path(own: Settings) -> None:
    running = begin(own)
    write_lock(own, "study-x", study="../../etc")
    assert [one.study_id for one in running_studies.under_way(own)] == [running.study_id]
    assert HOSTILE not in said(visit("research"))
