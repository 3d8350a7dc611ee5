"""What was ingested is rebuilt from the raw answers, row for row."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.builders.epoch_october import small_october
from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tests.doubles.sources_double import SourcesHub, entry, token_shares
from tests.tracker.ingest.test_ingest import hub, there
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.files.items import RUN_FILE, read_run
from tracker.ingest.model_aliases import add_match
from tracker.ingest.replay import RebuiltHistory, rebuild_history
from tracker.ingest.run import ingest
from tracker.queue.jobs import add, park, remove
from tracker.settings import Settings
from tracker.sources.ingest_log import LOG, Answered, read_ingests
from tracker.store import Store, open_snapshot, publish

__all__ = ["hub", "there"]

MONDAY = datetime(2026, 11, 2, 6, tzinfo=UTC)
EVER = datetime(2020, 1, 1, tzinfo=UTC)
TABLES = (
    "sources", "ingests", "model_snapshots", "published_scores", "held_rows", "dated_values", "weights",
    "aliases", "jobs", "vintages", "vintage_models", "vintage_scores", "vintage_benchmarks",
)  # fmt: skip
SOURCES = ("hub-models", "hub-evals", "openrouter", "openrouter-usage", "every-eval-ever")


def on(settings: Settings, day: int) -> Settings:
    return settings.model_copy(update={"fixed_now": MONDAY + timedelta(days=day)})


def dump(settings: Settings) -> dict[str, list[str]]:
    """Every row of the ingested tables, in an order of their own."""
    publish(settings)
    with open_snapshot(settings) as snapshot:
        return {name: sorted(map(repr, snapshot.select(f"from {name}").rows)) for name in TABLES}


def lose_database(settings: Settings) -> None:
    for path in settings.home.glob("tracker.duckdb*"):
        path.unlink()
    shutil.rmtree(settings.snapshots_path)


def weeks(settings: Settings, hub: SourcesHub) -> None:
    """Several weeks in which everything happens that an ingest can meet."""
    hub.put(*(entry(f"acme/m-{n}") for n in range(5)), entry("acme/old-name"), entry("acme/gone"))
    hub.records = {f"flat/objects/{n}.json": record(n) for n in range(3)}
    ingest(SOURCES, on(settings, 0), since=EVER)
    store_runs(settings, run(1, of=model("acme/old-name")), run(2, of=model("acme/gone")))
    add(settings, "acme/m-1", priority=90.0)
    add(settings, "acme/m-2")
    add(settings, "acme/m-3")
    park(settings, "acme/m-2", reason="parked by the user: later")
    remove(settings, "acme/m-3")
    # changes, a withdrawal, a renamed and a deleted model, a new record
    hub.put(entry("acme/m-1", "2026-11-21T00:00:00.000Z", gated="manual"), entry("acme/m-2", downloads=7))
    hub.drop("acme/gone")
    hub.drop("acme/old-name")
    hub.put(entry("acme/new-name", "2026-11-22T00:00:00.000Z"))
    hub.renamed["acme/old-name"] = "acme/new-name"
    hub.boards["Idavidrein/gpqa"] = hub.boards["Idavidrein/gpqa"][1:]
    hub.records["flat/objects/9.json"] = record(9)
    hub.documents["/usage.json"] = json.dumps(token_shares(20)).encode()
    ingest(SOURCES, on(settings, 7))
    add_match(settings, "openrouter:deepseek/deepseek-v3.2=acme/m-4")
    # much is missing: held, then accepted; another is down
    listed = json.loads(hub.documents["/openrouter.json"])
    shrunk = json.dumps({"data": listed["data"][:-12]}).encode()
    whole, hub.documents["/openrouter.json"] = hub.documents["/openrouter.json"], shrunk
    hub.answers["/modelsdev.json"] = [(503, {}, b"")] * 9
    ingest(["openrouter", "models-dev"], on(settings, 14))
    ingest(["openrouter"], on(settings, 14), accept=True)
    hub.documents["/openrouter.json"] = whole
    ingest(["openrouter"], on(settings, 21))
    hub.documents["/openrouter.json"] = shrunk
    ingest(["openrouter", "artificial-analysis"], on(settings, 28))


def record(number: int) -> dict[str, Any]:
    return {
        "model_info": {"id": f"acme/m-{number}"},
        "retrieved_timestamp": 1_780_000_000 + number,
        "source_metadata": {"source_organization_name": "acme", "evaluator_relationship": "third_party"},
        "evaluation_results": [
            {
                "evaluation_name": "gsm8k",
                "source_data": {"dataset_name": "gsm8k"},
                "metric_config": {"min_score": 0, "max_score": 1, "lower_is_better": False},
                "score_details": {"score": 0.5 + number / 100},
            }
        ],
    }


def rebuilt(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RebuiltHistory:
    """The history, rebuilt while no source can be reached."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return rebuild_history(settings.model_copy(update={"source_urls": {}, "hub_page": 500}))


def test_replay_several_weeks_are_rebuilt_row_by_row_without_database_and_network(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    weeks(there, hub)
    before = dump(there)
    statuses = {
        line for row in before["ingests"] for line in ("partial", "skipped_unavailable") if line in row
    }
    assert statuses == {"partial", "skipped_unavailable"}
    assert all(before[name] for name in TABLES if not name.startswith("vintage") and name != "weights")
    lose_database(there)
    history = rebuilt(there, monkeypatch)
    assert history.problems == ()
    assert history.n_ingests == len(before["ingests"])
    assert dump(there) == before
    assert not list(there.home.glob(".history-*"))


def test_replay_vintages_keep_their_days_and_refits_without_a_fit(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    october = small_october()
    later = october.edited(lambda row: row | ({"eci": "158.9"} if row["Model"] == "Kimi K3" else {}))
    for day, body in ((0, october), (7, later), (14, later)):
        hub.documents["/epoch.zip"] = body.zip()
        ingest(["epoch"], on(there, day))
    before = dump(there)
    assert len(before["vintages"]) == 2
    assert len(read_ingests(there.raw_path / "epoch").ingests[0].refits) == 1
    lose_database(there)
    shutil.rmtree(there.frontier_path)
    history = rebuilt(there, monkeypatch)
    assert (history.problems, dump(there)) == ((), before)
    assert not any(path.is_file() for path in there.frontier_path.rglob("*"))  # nothing was fitted


def test_replay_lost_answers_are_named_and_the_rest_goes_on(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("openrouter", "models-dev", "openrouter-usage")
    ingest(names, on(there, 0))
    listed = json.loads(hub.documents["/openrouter.json"])
    listed["data"][0]["pricing"]["prompt"] = "0.5"
    hub.documents["/openrouter.json"] = json.dumps(listed).encode()
    ingest(["openrouter"], on(there, 7))
    before = dump(there)
    lost = {}
    for name in names[:2]:
        ingested = read_ingests(there.raw_path / name).ingests[0]
        (answer,) = ingested.answers
        assert isinstance(answer, Answered)
        lost[name, ingested.ingest_id] = answer.sha256
        path = there.raw_path / name / f"{answer.sha256}.zst"
        path.unlink() if name == "openrouter" else path.write_bytes(path.read_bytes()[:-20])
    lose_database(there)
    history = rebuilt(there, monkeypatch)
    assert {(one.source, one.ingest_id) for one in history.problems} == lost.keys()
    for problem in history.problems:
        assert lost[problem.source, problem.ingest_id or ""] in problem.message
    after = dump(there)
    assert len(after["ingests"]) == len(before["ingests"])
    assert sum("rebuilt without an answer" in row for row in after["ingests"]) == 2
    assert len(after["model_snapshots"]) == len(listed["data"])  # of the second answer of OpenRouter
    assert after["dated_values"] == before["dated_values"]


def test_replay_a_killed_ingest_stays_as_it_was_and_the_next_goes_on(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Ends the process at once, as far as the store can tell."""

    hub.put(*(entry(f"acme/m-{n:02}", f"2026-10-{n + 1:02}T00:00:00.000Z") for n in range(5)))
    answer, calls = hub._list, []

    def cut(query: dict[str, list[str]]) -> Any:
        calls.append(query)
        return (503, {}, b"") if len(calls) > 3 else answer(query)

    hub._list = cut  # type: ignore[method-assign]
    settings = there.model_copy(update={"flush_s": 1e-9})
    ingest(["hub-models"], on(settings, 0), since=EVER)
    hub._list = answer  # type: ignore[method-assign]
    # the kill of a process: its log and its rows end where they were
    path = there.raw_path / "hub-models" / LOG
    lines = path.read_text().splitlines()
    assert '"ended"' in lines[-1]
    ingest(["hub-models"], on(settings, 7))
    before = dump(there)
    lose_database(there)
    assert rebuilt(there, monkeypatch).problems == ()
    assert dump(there) == before
    whole = path.read_text()
    path.write_text(whole[: whole.index('"begun"', len("\n".join(lines)))].rpartition("\n")[0] + "\n")
    last = read_ingests(path.parent).ingests[-1].ingest_id
    unlogged = rebuilt(there, monkeypatch).problems
    assert [problem.message.partition(",")[0] for problem in unlogged] == ["it is in no log"]
    assert (unlogged[0].ingest_id or "") > last
    path.write_text(whole)
    lose_database(there)
    kept = whole.splitlines()
    kept.remove(lines[-1])
    path.write_text("\n".join(kept) + '\n{"format_version": 1, "ingest_id": "x", "ki')
    history = rebuilt(there, monkeypatch)
    assert [problem.message.rpartition(", ")[2] for problem in history.problems] == [
        f"line {len(kept) + 1} is damaged"
    ]
    after = dump(there)
    assert after["model_snapshots"] == before["model_snapshots"]
    assert sum("'running'" in row for row in after["ingests"]) == 1


@pytest.mark.clock
def test_replay_ingests_before_the_log_come_from_the_database_or_are_estimated(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(["openrouter", "hub-models"], on(there, 0), since=EVER)
    for source in ("openrouter", "hub-models"):  # as a version without the log left them
        (there.raw_path / source / LOG).unlink()
    hub.put(entry("acme/new", "2026-11-21T00:00:00.000Z"))
    ingest(["openrouter", "hub-models"], on(there, 7))
    before = dump(there)
    history = rebuilt(there, monkeypatch)
    assert (history.problems, dump(there)) == ((), before)
    assert history.earlier_from == str(there.db_path)
    assert history.kept_aside is not None
    Path(history.kept_aside).unlink()
    lose_database(there)
    history = rebuilt(there, monkeypatch)
    assert [problem.source for problem in history.problems] == ["hub-models", "openrouter"]
    assert all("estimated" in problem.message for problem in history.problems)
    current = "select source, name, n_params from current_models where not is_gone order by all"
    publish(there)
    with open_snapshot(there) as snapshot:
        names = {row[1] for row in snapshot.select(current).rows}
    assert {"acme/atlas-8b", "acme/atlas-70b", "acme/new"} < names
    assert len(names) == 35 + 3


def test_replay_a_newer_log_and_a_source_that_is_gone_are_said_by_the_command(
    there: Settings, hub: SourcesHub, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(["openrouter"], on(there, 0))
    before = dump(there)
    path = there.raw_path / "openrouter" / LOG
    path.write_text(path.read_text() + '{"format_version": 9, "ingest_id": "x", "kind": "begun"}\n')
    gone = there.raw_path / "gone"
    gone.mkdir()
    text = path.read_text().replace('"asked_as": "openrouter"', '"asked_as": "no.such:Source"')
    (gone / LOG).write_text("".join(line + "\n" for line in text.splitlines()[:-1]))
    lose_database(there)
    capsys.readouterr()
    main(["store", "rebuild", "--from-raw", "--json"])
    said = capsys.readouterr()
    history = json.loads(said.out)["history"]
    assert {problem["source"] for problem in history["problems"]} == {"openrouter", "gone"}
    assert history["n_ingests"] == 2
    assert any("format 9 is too new" in problem["message"] for problem in history["problems"])
    assert "warning: openrouter: " in said.err
    assert dump(there) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.ingest.replay import rebuild_history
from tracker.files.items import RUN_FILE, read_run
from tracker.settings import Settings

rebuild_history(Settings(home=Path(sys.argv[1])), on_ingest=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_replay_a_kill_or_an_ingest_meanwhile_leaves_the_old_database(
    there: Settings, hub: SourcesHub
) -> None:
    ingest(["openrouter"], on(there, 0))
    before = dump(there)
    done = subprocess.run([sys.executable, "-c", KILLED, str(there.home)], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert list(there.home.glob(".history-*"))
    assert dump(there) == before

    def meanwhile(ingest_id: str) -> None:
        ingest(["models-dev"], on(there, 1))

    with pytest.raises(TrackerError, match="an ingest ran meanwhile"):
        rebuild_history(there, on_ingest=meanwhile)
    assert len(dump(there)["ingests"]) == 2
    assert not list(there.home.glob(".history-*"))


def test_replay_a_broken_run_file_is_restored_from_the_database_and_nothing_else_is_lost(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(["openrouter"], on(there, 0))
    store_runs(there, run(1), run(2))  # the items of both are under the same fingerprints
    file = there.items_path / run(1).run_id / RUN_FILE
    whole = read_run(file.parent)
    file.write_bytes(b"{")
    found = rebuilt(there, monkeypatch)
    assert read_run(file.parent) == whole
    assert [str(file) in sentence for sentence in found.rebuilt.restored] == [True]
    assert ".history-" not in str(found)
    assert list(there.home.glob("aside/items/*/*"))
    with Store.open(there) as store:
        rows = {row["run_id"]: row["status"] for row in store.query("runs")}
        assert len(store.query("run_scores")) == len(run(1).scores) + len(run(2).scores)
    assert rows == {run(1).run_id: "complete", run(2).run_id: "complete"}
