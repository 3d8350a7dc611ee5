"""A metric that is no share, from the run to each place that shows it: the same value, in its own unit."""

from __future__ import annotations

import json

import pytest

from app.widgets.safe_text import escaped
from tests.builders.some_runs import model, run, store_runs
from tests.doubles.app_visit import visit
from tracker import open_home
from tracker.cli import main
from tracker.cli.bench_output import document
from tracker.records import PromptForm, Reuse, TaskMetric
from tracker.settings import Settings

PERPLEXITY = TaskMetric("wikitext", "word_perplexity", "none", 21.75, None, 10, False, is_headline=False)


@pytest.fixture(autouse=True)
def stored(settings: Settings) -> Settings:
    assert PERPLEXITY in run(1).metrics
    store_runs(settings, run(1))
    return settings


def test_a_metric_is_the_same_in_bench_show_sql_and_python(capsys: pytest.CaptureFixture[str]) -> None:
    (benched,) = [one for one in document(run(1), None)["metrics"] if one["metric"] == "word_perplexity"]
    assert (benched["value"], benched["is_headline"]) == (21.75, False)
    main(["show", model().model_id, "--json"])
    shown = json.loads(capsys.readouterr().out)["runs"][0]["metrics"]
    assert [(one["metric"], one["value"]) for one in shown] == [("word_perplexity", 21.75), ("acc", 0.5)]
    main(["show", model().model_id])
    assert "wikitext: word_perplexity 21.75\n" in capsys.readouterr().out
    rows = open_home().query("select metric, value from task_metrics where not is_headline")
    assert rows.to_dict("records") == [{"metric": "word_perplexity", "value": 21.75}]


def test_a_metric_is_the_same_on_the_model_page() -> None:
    session = visit("model", model=model().model_id)
    assert "Other metrics" in [header.value for header in session.subheader]
    (table,) = [frame.value for frame in session.dataframe if "Metric" in frame.value]
    assert table[["Task", "Metric", "value"]].to_numpy().tolist() == [["wikitext", "word_perplexity", 21.75]]
    assert table["stderr"].isna().all()


def test_prompts_and_reuse_are_the_same_in_bench_show_and_on_the_model_page(
    stored: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(1)
    again = run(
        2,
        reused=(Reuse(first.run_id, 30, first.started_at, "http://127.0.0.1:8000/v1"),),
        prompts=(PromptForm("sort_words", chat=True, system=False),),
    )
    store_runs(stored, again)
    documents = document(again, None)
    main(["show", model().model_id, "--json"])
    shown = {one["run_id"]: one for one in json.loads(capsys.readouterr().out)["runs"]}
    assert shown[again.run_id]["prompts"] == documents["prompts"]
    assert shown[again.run_id]["reused"] == documents["reused"]
    said = (
        "chat: template; system prompt: no",
        f"30 answers reused from run {first.run_id} of 2026-11-24 (server http://127.0.0.1:8000/v1)",
    )
    main(["show", model().model_id])
    printed = capsys.readouterr().out
    assert all(sentence in printed.splitlines() for sentence in said)
    session = visit("model", model=model().model_id, run=again.run_id)
    captions = {caption.value for caption in session.caption}
    assert {escaped(sentence[0].upper() + sentence[1:]) for sentence in said} <= captions
