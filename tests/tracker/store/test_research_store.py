"""Studies in the store: whole, repeatable, rebuilt from their files, and held against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders.some_runs import model as some_model
from tests.builders.some_runs import run, store_runs
from tests.builders.some_studies import (
    MODEL,
    TPE,
    result,
    some_trials,
    store_study,
    store_suite_run,
    study,
    suite_run,
    trial,
)
from tracker.cli.research_output import print_study
from tracker.errors import TrackerError, UnknownNameError
from tracker.files.studies import Ledger, Wave, open_ledger
from tracker.files.workers import WorkKind, write_worker_file
from tracker.records import EngineSettings
from tracker.records.studies import StudySecret, StudyStatus, Track, Verdict
from tracker.settings import Settings
from tracker.store import Rebuilt, Repaired, Store, check, open_snapshot, publish, rebuild, repair

TABLES = ("studies", "trials", "proposals", "trainings")
DEAD_PID = 2**22 + 1  # above the largest that Linux gives


def rows(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    publish(settings)
    with open_snapshot(settings) as snapshot:
        return {name: snapshot.select(f"select * from {name} order by all").rows for name in TABLES}


def kinds(settings: Settings) -> list[str]:
    return sorted({problem.kind for problem in check(settings)})


def test_research_store_a_study_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write_study(study())
    for each in some_trials(study()):
        ledger.write_trial(each)
    wave = Wave(2, (4,), (trial(study(), 4).proposal,))
    ledger.write_wave(wave)
    assert (ledger.read_study(), ledger.trials()) == (study(), some_trials(study()))
    assert (ledger.wave(2), ledger.wave(3), ledger.trial(9)) == (wave, None, None)


def test_research_store_counts_costs_and_verdicts_of_a_study(settings: Settings) -> None:
    store_study(settings, study(1))
    with open_snapshot(settings) as snapshot:
        (row,) = snapshot.query("studies")
        trials = snapshot.query("trials", study_id=study(1).study_id)
        exchanges = snapshot.query("trial_exchanges")
        trainings = snapshot.query("trial_trainings", slot=-1)
        (category,) = snapshot.query("category_gains")
    assert {name: row[name] for name in row if name.startswith("n_")} == {
        "n_trials": 4, "n_done": 4, "n_valid": 3, "n_accepted": 1, "n_rejected": 1, "n_duplicates": 1,
        "n_invalid": 1, "n_failed": 0, "n_caught": 0, "n_placebos": 1, "n_false_accepts": 0,
        "n_trainings": 28,
    }  # fmt: skip
    assert (row["prompt_tokens"], row["output_tokens"], row["gain_bpb"]) == (3600, 160, 0.08)
    assert [each["verdict"] for each in trials] == [
        "accepted", "rejected", "invalid", "rejected", "duplicate",
    ]  # fmt: skip
    assert (trials[2]["params"], trials[2]["problem"]) == (None, "no JSON was found")
    assert exchanges[1]["reply"] == "Well…"
    assert [each["role"] for each in trainings[:2]] == ["parent", "child"]
    assert trainings[0]["curve"] == [[1024, 3.1], [2048, 2.6]]
    assert (category["category"], category["n_tried"], category["gain_bpb"]) == ("betas", 3, 0.09)


def test_research_store_the_secret_of_a_study_is_kept_and_an_older_study_has_none(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = StudySecret("5e" * 32)
    store_study(settings, study(1, secret_hash=secret.hash, secret=secret.value))
    store_study(settings, study(2))
    with open_snapshot(settings) as snapshot:
        older, newer = snapshot.query("studies")
    assert (newer["secret_hash"], newer["secret"]) == (secret.hash, secret.value)
    assert (older["secret_hash"], older["secret"]) == (None, None)
    for row, is_warned in ((older, True), (newer, False)):
        print_study(row, [], [])
        assert ("an agent could compute" in capsys.readouterr().out) == is_warned


def test_research_store_storing_twice_changes_nothing(settings: Settings) -> None:
    store_study(settings, study(1))
    before = rows(settings)
    store_study(settings, study(1))
    assert rows(settings) == before
    assert all(before.values())


def test_research_store_a_trial_stored_again_replaces_what_it_was(settings: Settings) -> None:
    store_study(settings, study(1), (trial(study(1), 0),))
    changed = replace(trial(study(1), 0), verdict=Verdict.REJECTED, confirmation=())
    with Store.open(settings) as store:
        store.add_study(study(1), [changed])
        (row,) = store.query("trials")
        phases = {each["phase"] for each in store.query("trial_trainings", slot=0)}
    assert (row["verdict"], row["n_confirmations"], phases) == ("rejected", 0, {"gate"})


def test_research_store_a_rebuilt_database_has_the_studies_that_were_lost(settings: Settings) -> None:
    store_study(settings, study(1))
    store_study(settings, study(2, agent=TPE, gain=None, status=StudyStatus.PAUSED, reason="unreachable"))
    before = rows(settings)
    settings.db_path.unlink()
    assert rebuild(settings).n_studies == 2
    assert rows(settings) == before


def test_research_store_what_became_of_each_attack_is_kept_and_comes_back_with_a_rebuild(
    settings: Settings,
) -> None:
    runs = [store_suite_run(settings, suite_run(n, "bait", "peek")) for n in (1, 2)]
    (settings.attacks_path / "20261124-000003-bbbbbb.json").write_bytes(b"{")
    with open_snapshot(settings) as snapshot:
        before = snapshot.select("select * from attacks order by all").rows
        assert snapshot.query("attack_suite")[0]["suite_run_id"] == runs[1].suite_run_id
    assert [row[-3:] for row in before[:2]] == [
        ("bait", "caught", "bait was seen"), ("peek", "caught", "peek was seen"),
    ]  # fmt: skip
    settings.db_path.unlink()
    assert "000003" in rebuild(settings).skipped[0]
    publish(settings)
    with open_snapshot(settings) as snapshot:
        assert snapshot.select("select * from attacks order by all").rows == before


def test_research_store_what_makes_an_agent_another_one_is_stored_where_it_is_not_as_usual(
    settings: Settings,
) -> None:
    engine = EngineSettings(engine="server", thinking=True)
    spec = replace(MODEL, settings=engine, optimiser="cma")
    store_study(settings, study(1, agent=spec, wave_size=4, track=Track.HYBRID))
    store_study(settings, study(2, agent=TPE))
    with open_snapshot(settings) as snapshot:
        hybrid, tpe = (row["settings"] for row in snapshot.query("research_board"))
    assert MODEL.model is not None
    assert hybrid == {
        "wave": 4, "revision": MODEL.model.revision, "engine": "server", "thinking": True,
        "optimiser": "cma", "override_share": 0.3,
    }  # fmt: skip
    assert {name: value for name, value in tpe.items() if value is not None} == {"wave": 1}


def test_research_store_code_that_ran_without_a_sandbox_is_not_on_the_board(settings: Settings) -> None:
    for number, (track, sandbox) in enumerate(
        [(Track.CODE, "none"), (Track.CODE, "bubblewrap"), (Track.PARAMS, "none")]
    ):
        store_study(settings, study(number, track=track, sandbox=sandbox))
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("research_board", tier=None, track=None)
    assert [(row["track"], row["seed"]) for row in rows] == [("code", 1), ("params", 2)]


def test_research_store_a_study_whose_process_is_gone_becomes_interrupted(settings: Settings) -> None:
    store_study(settings, study(1, status=StudyStatus.RUNNING, pid=DEAD_PID, gain=None))
    assert kinds(settings) == ["stale_study"]
    rebuild(settings)
    with Store.open(settings) as store:
        (row,) = store.query("studies")
    assert (row["status"], row["reason"]) == ("interrupted", "killed")


RESEARCH_FILES = ("studies/*/study.json", "studies/*/trials/00000.json", "attacks/*.json")
CONTENTS = (b"", b"{", b'{"study_id": 1}', b"\xff\xfe")


def store_research(settings: Settings) -> None:
    """Studies by a model with settings of its own, by a local model that was benched, and by no model."""
    engine = EngineSettings(engine="server", thinking=True, dtype="float32", seed=3)
    local = some_model("acme/local-8b", path="/models/local")
    store_runs(settings, run(1, of=local))
    store_study(settings, study(1, agent=replace(MODEL, settings=engine)))
    store_study(settings, study(2, agent=replace(MODEL, model=local, override_share=0.5), track=Track.HYBRID))
    store_study(settings, study(3, agent=TPE, gain=None, status=StudyStatus.PAUSED, detail="unreachable"))
    store_suite_run(settings, suite_run(1, "peek", "bait"))


def research_files(settings: Settings) -> dict[str, bytes]:
    paths = [path for pattern in RESEARCH_FILES for path in settings.home.glob(pattern)]
    return {str(path.relative_to(settings.home)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("mend", [repair, rebuild], ids=["repair", "rebuild"])
def test_research_store_broken_files_are_written_again_from_the_database_as_they_were(
    settings: Settings, mend: Callable[[Settings], Repaired | Rebuilt]
) -> None:
    store_research(settings)
    before, files = rows(settings), research_files(settings)
    assert len(files) == 7
    for number, name in enumerate(files):
        (settings.home / name).write_bytes(CONTENTS[number % len(CONTENTS)])
    assert kinds(settings) == ["broken_attacks_file", "broken_study_file"]
    done = mend(settings)
    assert sum("was written again from the database" in sentence for sentence in done.restored) == 7
    assert (research_files(settings), rows(settings), kinds(settings)) == (files, before, [])
    aside = {path.read_bytes() for path in settings.home.glob("aside/[sa]t*/**/*.json.old-1")}
    assert aside == set(CONTENTS)


def test_research_store_files_that_are_gone_are_written_again_by_a_repair(settings: Settings) -> None:
    store_research(settings)
    before, files = rows(settings), research_files(settings)
    for name in [name for name in files if "studies" in name]:
        (settings.home / name).unlink()
    assert kinds(settings) == ["broken_study_file"]
    settings.db_path.write_bytes(b"damaged")  # the snapshot has the rows too
    assert repair(settings).problems == ()
    assert (research_files(settings), rows(settings)) == (files, before)


def test_research_store_what_a_restored_study_does_not_know_any_more_is_said(settings: Settings) -> None:
    engine = EngineSettings(engine="server", base_url="http://127.0.0.1:1/v1", concurrency=3)
    store_study(settings, study(1, agent=replace(MODEL, settings=engine)))
    ledger = Ledger(settings.studies_path / study(1).study_id)
    (ledger.folder / "study.json").write_bytes(b"{")
    (sentence,) = repair(settings).restored
    assert sentence.endswith("settings of its engine that change no answer are the defaults now")
    assert ledger.read_study().agent.settings == EngineSettings(engine="server")


@pytest.mark.parametrize("content", CONTENTS)
def test_research_store_a_broken_study_file_that_no_database_has_is_passed_over_and_named(
    settings: Settings, content: bytes
) -> None:
    store_study(settings, study(1))
    Ledger(settings.studies_path / study(2).study_id).write_study(study(2))
    path = settings.studies_path / study(2).study_id / "study.json"
    path.write_bytes(content)
    rebuilt = rebuild(settings)
    assert (rebuilt.n_studies, [str(path) in problem for problem in rebuilt.skipped]) == (1, [True])
    assert path.read_bytes() == content


def test_research_store_a_study_that_is_worked_on_is_left_alone(settings: Settings) -> None:
    store_study(settings, study(1))
    path = settings.studies_path / study(1).study_id / "study.json"
    path.write_bytes(b"{")
    write_worker_file(settings, WorkKind.STUDY, study(1).study_id, study=study(1).study_id)
    repair(settings)
    assert path.read_bytes() == b"{"


DAMAGES: dict[str, Callable[[Settings], object]] = {
    "broken_study_file": lambda s: (first_trial(s)).write_bytes(b"{"),
    "stale_study": lambda s: (first_trial(s)).unlink(),
    "no_database": lambda s: s.db_path.unlink(),
}


def first_trial(settings: Settings) -> Path:
    return sorted(settings.studies_path.glob("*/trials/*.json"))[0]


@pytest.mark.parametrize("kind", DAMAGES)
def test_research_store_each_damage_is_named_with_a_hint(settings: Settings, kind: str) -> None:
    store_study(settings, study(1))
    assert kinds(settings) == []
    DAMAGES[kind](settings)
    problems = check(settings)
    assert kind in {problem.kind for problem in problems}
    assert all(problem.hint for problem in problems)


def test_research_store_a_study_is_found_by_the_start_of_its_id(settings: Settings) -> None:
    store_study(settings, study(1))
    store_study(settings, study(2))
    assert open_ledger(settings, study(2).study_id[:-3]).folder.name == study(2).study_id
    for name in ("", "20261124", "nope"):
        with pytest.raises(UnknownNameError):
            open_ledger(settings, name)


def test_research_store_a_missing_study_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"study\.json: cannot be read"):
        Ledger(tmp_path).read_study()


def test_research_store_a_result_without_a_gain_has_no_pairs() -> None:
    assert result(0.0).test_pairs == ()
