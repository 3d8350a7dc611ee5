"""The suite `tools` through the harness: resumed at the next episode, scored, its form stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.executors.jobs import run_job
from tests.runners.harness.test_worker import rules
from tracker.files.items import read_items, read_run, stored_parts
from tracker.records import EngineSettings, Job, Model, PromptForm, RunRequest, RunStatus
from tracker.records.transcripts import parse_transcript
from tracker.settings import Settings
from tracker.suites import get_suite

ENGINE = "tests.doubles.tool_agents:ScriptedToolEngine"


def test_tools_a_run_killed_amid_an_episode_goes_on_with_the_next(
    settings: Settings, model_folder: Path
) -> None:
    suite = get_suite("tools")
    suite = replace(suite, tasks=(replace(suite.tasks[0], task="tools_single"),))
    job = Job(
        model=Model("acme/tiny-1b", "0" * 40, path=str(model_folder)),
        settings=EngineSettings(engine=ENGINE),
        runs=(RunRequest("run-1", suite),),
        items_path=str(settings.items_path),
        flush_s=0.0,
    )
    rules(model_folder, die_at=21)
    assert run_job(job, settings, lambda _: None).exit_code != 0
    (model_folder / "double.json").unlink()
    assert run_job(replace(job, runs=(RunRequest("run-2", suite),)), settings, lambda _: None).exit_code == 0

    run = read_run(settings.items_path / "run-2")
    (score,) = run.scores
    assert run.status is RunStatus.COMPLETE
    assert (score.task, score.metric, score.value, score.n_items) == ("tools_single", "success", 0.5, 16)
    assert score.n_reused_items == 8 + 4  # ended in words at once; solved before it was killed
    assert 0.2 < (score.ci_low or 0) < 0.5 < (score.ci_high or 0) < 0.8
    assert run.prompts == (PromptForm("tools_single", True, False, "template"),)
    metrics = {one.metric: one.value for one in run.metrics}
    assert metrics["calls"] == pytest.approx(0.5)
    assert metrics["unparsed_calls"] == metrics["unknown_tools"] == 0.0

    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    assert sorted(items) == list(range(16))
    for number, item in items.items():
        found = parse_transcript(item.response)
        assert found is not None
        assert item.extracted == f"done after {'0 calls' if number % 2 else '1 call'}"
        assert [one.role for one in found.messages][:2] == ["user", "assistant"]
