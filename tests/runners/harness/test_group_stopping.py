"""`--until` on a group that counts its tasks equally: it ends on the interval of the mean over its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runners.harness.test_mean_stopping import with_few
from tests.runners.harness.test_worker import job, rules, run
from tracker.records import Run, RunStatus, TaskScore
from tracker.settings import Settings

N_SUMS, N_FEW = 400, 40


def measured(settings: Settings, folder: Path, tasks: Path, **options: Any) -> Run:
    return run(settings, with_few(job(settings, folder, "even_pair", **options), tasks))[0].runs[0]


def parts(found: Run) -> tuple[TaskScore, TaskScore, TaskScore]:
    group, sums, few = found.scores
    assert (group.task, sums.task, few.task) == ("even_pair", "sums_a", "few_sums")
    return group, sums, few


def test_group_stopping_ends_on_the_interval_of_the_mean_over_the_tasks(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    group, sums, few = parts(measured(settings, model_folder, tmp_path / "tasks", until_half_width=0.12))
    assert group.value == pytest.approx((sums.value + few.value) / 2)
    assert group.ci_low < group.value < group.ci_high <= group.ci_low + 0.24 + 1e-4  # type: ignore[operator]
    assert group.n_items == sums.n_items + few.n_items < group.n_total == N_SUMS + N_FEW  # type: ignore[operator]
    assert few.n_items > N_FEW / 2  # a tenth of the items, and half of the score
    whole = measured(settings, model_folder, tmp_path / "again", run_id="whole")
    assert group.ci_low <= parts(whole)[0].value <= group.ci_high  # type: ignore[operator]


def test_group_stopping_a_run_that_died_ends_where_it_would_have(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    asked = {"until_half_width": 0.12}
    straight = measured(other, model_folder, tmp_path / "one", **asked)
    died = measured(settings, rules(model_folder, die_at=30), tmp_path / "two", **asked)
    assert died.status is RunStatus.FAILED
    resumed = measured(settings, rules(model_folder), tmp_path / "three", run_id="run-2", **asked)
    shown = [[(s.value, s.ci_low, s.ci_high, s.n_items) for s in one.scores] for one in (straight, resumed)]
    assert shown[0] == shown[1]
    assert resumed.n_reused_items > 0


def test_group_stopping_of_a_sample_draws_as_the_sample_was_drawn(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    sample = {"limit": 330, "sample_seed": 1, "until_half_width": 0.2}
    group, sums, few = parts(measured(settings, model_folder, tmp_path / "tasks", **sample))
    assert group.n_items < 330
    assert few.n_items < sums.n_items / 4  # about a tenth of the items
    assert group.ci_low < group.value < group.ci_high <= group.ci_low + 0.4 + 1e-4  # type: ignore[operator]
