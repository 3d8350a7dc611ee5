"""`tracker export`: tables, records and results for the Hub, checked, and without what may not leave."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

import tracker
from tests.builders.foreign_results import write_lm_eval
from tests.builders.store_builder import build_store
from tests.doubles.command import command
from tracker.answers.vintages import tables_for
from tracker.errors import StoreError, TrackerError, UnknownNameError
from tracker.exchange.export_runs import DICTIONARY, EEE, HUB, ExportRequest, export_results
from tracker.exchange.export_tables import FORMATS, TABLES
from tracker.exchange.import_runs import import_results
from tracker.files.items import read_run, run_folders, write_run
from tracker.formats.eee_writer import RecordError, check_record, check_samples, eee_record
from tracker.frontier.facts import Redistribution
from tracker.frontier.licenses import terms_of
from tracker.records import Run
from tracker.records.published import Batch, IngestOutcome, OutcomeStatus, SourceFacts, SourceScore
from tracker.settings import Settings
from tracker.sources import SOURCES, get_source
from tracker.store import SourceState, Store, open_snapshot, publish

FACTS = ("metric", "filter", "value", "stderr", "ci_low", "ci_high", "n_items", "n_total", "chance", "group")
SEEN_AT = datetime(2026, 11, 1, tzinfo=UTC)


def every_source(settings: Settings) -> list[SourceFacts]:
    return [get_source(name, settings).facts for name in SOURCES]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store with runs, and a score of every source that there is."""
    settings = build_store(tmp_path_factory.mktemp("export"))
    with Store.open(settings) as store:
        for facts in every_source(settings):
            outcome = IngestOutcome(facts.name, OutcomeStatus.COMPLETED, ingest_id=f"{facts.name}-1")
            store.add_outcome(facts, outcome, started_at=SEEN_AT, state=SourceState())
            store.add_batch(
                Batch(scores=(SourceScore(f"only-{facts.name}", "some benchmark", 0.5),)),
                source=facts.name,
                ingest_id=f"{facts.name}-1",
                seen_at=SEEN_AT,
            )
    publish(settings)
    return settings


@pytest.mark.clock
def test_export_of_every_format_has_the_same_rows_and_a_dictionary(tmp_path: Path, built: Settings) -> None:
    counts = {}
    for kind in FORMATS:
        folder = tmp_path / kind
        names = ("runs", "scores", "metrics", "items", "published")
        found = export_results(folder, ExportRequest(kind, tables=names), built)
        counts[kind] = {file.file.partition(".")[0]: file.n_rows for file in found.files}
        document = json.loads((folder / DICTIONARY).read_text())
        assert [one["table"] for one in document["tables"]] == list(names)
        described = [
            column for one in document["tables"] for column in one["columns"] if column["description"]
        ]
        assert len(described) > 60
    assert counts["parquet"] == counts["csv"] == counts["jsonl"]
    with open_snapshot(built) as snapshot:
        assert counts["csv"]["items"] == snapshot.select("select count(*) from items").rows[0][0]
    table = pq.read_table(tmp_path / "parquet" / "items.parquet")
    assert len(table) == counts["csv"]["items"]
    assert len(pd.read_csv(tmp_path / "csv" / "items.csv")) == len(table)
    lines = (tmp_path / "jsonl" / "items.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in lines] == table["doc_id"].to_pylist()
    assert not {"path", "pid", "hardware"} & set(pq.read_schema(tmp_path / "parquet" / "runs.parquet").names)


def test_export_holds_back_every_source_that_may_not_be_passed_on(tmp_path: Path, built: Settings) -> None:
    found = export_results(tmp_path / "out", ExportRequest("jsonl", tables=("published",)), built)
    lines = (tmp_path / "out" / "published.jsonl").read_text().splitlines()
    names = {json.loads(line)["name"] for line in lines}
    held = {row.why for row in found.held_back}
    with open_snapshot(built) as snapshot:
        flags = {row["source"]: row["is_private"] for row in snapshot.query("sources")}
    assert {True, False} <= set(flags.values())
    for facts in every_source(built):
        name, is_private = facts.name, facts.is_private
        assert flags[name] == is_private
        assert (f"only-{name}" in names) == (not is_private), name
        assert any(f"`{name}`" in why for why in held) == is_private, name


def test_export_of_shipped_scores_has_those_whose_license_allows_it(tmp_path: Path, built: Settings) -> None:
    found = export_results(tmp_path / "out", ExportRequest("jsonl", tables=("shipped", "frontier")), built)
    rows = [json.loads(line) for line in (tmp_path / "out" / "shipped.jsonl").read_text().splitlines()]
    tables = tables_for(built)
    newest = max(row.vintage for row in tables.scores)
    every = [terms_of(row).redistribution for row in tables.scores if row.vintage == newest]
    allowed = every.count(Redistribution.ALLOWED)
    assert 0 < len(rows) == allowed < len(every)
    assert sum(row.n_rows for row in found.held_back) == len(every) - allowed
    assert all(row.why for row in found.held_back)
    gaps = [json.loads(line) for line in (tmp_path / "out" / "frontier.jsonl").read_text().splitlines()]
    answer = tracker.open_home(built.home).frontier()
    assert {row["id"]: (row["value"], row["ci_low"], row["ci_high"]) for row in gaps} == {
        gap.id: (gap.value, gap.ci_low, gap.ci_high) for gap in answer.gaps
    }


def test_records_read_elsewhere_have_the_same_scores_intervals_and_items(
    tmp_path: Path, built: Settings
) -> None:
    ours = {folder.name: read_run(folder) for folder in run_folders(built.items_path)}
    request = ExportRequest(EEE, suite="quick", organization="Acme Labs")
    exported = export_results(tmp_path / "out", request, built)
    assert len(exported.files) > 3
    elsewhere = Settings(home=tmp_path / "elsewhere")
    outcome = import_results(tmp_path / "out", elsewhere)
    assert not outcome.refused
    assert len(outcome.runs) == len(exported.files)
    for one in outcome.runs:
        evaluation = json.loads(Path(one.file).read_text())["evaluation_id"]
        theirs, run = one.run, ours[evaluation.rpartition("/")[2]]
        assert theirs.model.model_id == f"{run.model.model_id} (imported)"
        assert theirs.origin is not None
        assert theirs.origin.evaluated_by == "Acme Labs"
        found = {score.task: score for score in theirs.scores}
        for score in run.scores:
            other = found[score.task]
            expected = [getattr(score, name) for name in FACTS]
            assert [getattr(other, name) for name in FACTS] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    again = export_results(tmp_path / "again", ExportRequest(EEE), elsewhere)
    assert sum(file.n_rows for file in again.files) == sum(file.n_rows for file in exported.files)


def test_records_whose_score_was_edited_are_refused_elsewhere(tmp_path: Path, settings: Settings) -> None:
    import_results(write_lm_eval(tmp_path / "in"), settings)
    (file,) = export_results(tmp_path / "out", ExportRequest(EEE), settings).files
    path = next((tmp_path / "out").rglob(Path(file.file).name))
    record = json.loads(path.read_text())
    assert record["evaluation_results"][0]["score_details"]["score"] == 0.625
    record["evaluation_results"][0]["score_details"]["score"] = 0.75
    path.write_text(json.dumps(record))
    elsewhere = Settings(home=tmp_path / "elsewhere")
    with pytest.raises(TrackerError, match=r"sums: it states 0\.7500, but the mean of its items is 0\.6250"):
        import_results(path, elsewhere)
    assert not list(elsewhere.items_path.glob("*"))


def some_run(settings: Settings) -> Run:
    return next(run for run in map(read_run, run_folders(settings.items_path)) if run.scores)


def test_records_that_do_not_fit_their_schema_are_refused(built: Settings) -> None:
    record = eee_record(some_run(built), version="1", organization=None)
    check_record(record)
    for name, value in (("schema_version", 3), ("evaluation_results", {}), ("unknown", 1)):
        with pytest.raises(RecordError):
            check_record(record | {name: value})
    with pytest.raises(RecordError):
        check_samples([{"sample_id": "1"}])


def test_results_for_the_hub_are_shown_first_and_written_on_request(
    tmp_path: Path, settings: Settings
) -> None:
    import_results(write_lm_eval(tmp_path / "in"), settings)
    imported = some_run(settings)
    score = replace(imported.scores[0], task="gsm8k", n_items=8, n_total=8)
    model = replace(imported.model, model_id="acme/atlas-1b")
    ours = replace(imported, run_id="20261101-080000-aaaaaa", model=model, origin=None, scores=(score,))
    part = replace(ours, run_id="20261102-080000-aaaaaa", scores=(replace(score, n_total=100),))
    for run in (ours, part):
        (settings.items_path / run.run_id).mkdir()
        write_run(settings.items_path, run)
    with Store.open(settings) as store:
        store.add_runs([ours, part])
    publish(settings)
    home = str(settings.home)
    shown = command("export", str(tmp_path / "hub"), "--format", HUB, TRACKER_HOME=home)
    assert shown.returncode == 0, shown.stderr
    assert not (tmp_path / "hub").exists()
    assert "nothing was written; with `--write` it is" in shown.stderr
    done = command("export", str(tmp_path / "hub"), "--format", HUB, "--write", "--json", TRACKER_HOME=home)
    (file,) = json.loads(done.stdout)["files"]
    written = (tmp_path / "hub" / file["file"]).read_text()
    assert file["file"] == "acme-atlas-1b/.eval_results/gsm8k.yaml"
    assert written in shown.stdout.replace("\n\n", "\n")
    (entry,) = parse_eval_result_entries(yaml.safe_load(written))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "gsm8k", 62.5)
    assert {row["n_rows"] for row in json.loads(done.stdout)["held_back"]} == {1}


def test_export_refuses_what_it_cannot_do(tmp_path: Path, built: Settings) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="already exists"):
        export_results(tmp_path / "there", ExportRequest(tables=("runs",)), built)
    with pytest.raises(UnknownNameError, match="no table"):
        export_results(tmp_path / "new", ExportRequest(tables=("runz",)), built)
    with pytest.raises(UnknownNameError, match="no suite"):
        export_results(tmp_path / "new", ExportRequest(EEE, suite="quik"), built)
    with pytest.raises(UnknownNameError, match="no format"):
        ExportRequest("xlsx")
    with pytest.raises(TrackerError, match="without `--model`"):
        ExportRequest("csv", model="demo")
    assert command("export", str(tmp_path / "new"), "--write").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_export_dry_run_counts_and_writes_nothing(tmp_path: Path, built: Settings) -> None:
    names = tuple(name for name in TABLES if name not in ("frontier", "shipped"))
    found = export_results(tmp_path / "out", ExportRequest(tables=names, is_dry_run=True), built)
    assert {file.file for file in found.files} == {f"{name}.parquet" for name in names}
    assert not (tmp_path / "out").exists()
