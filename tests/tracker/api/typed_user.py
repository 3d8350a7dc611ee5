"""A user's script: tests check it with `mypy --strict` and run it on a store.

It uses every name of the package and every method of `Home`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import assert_type

import tracker


def months_behind(home: tracker.Home) -> dict[str, float | None]:
    answer = assert_type(home.frontier(as_of="2025-12-01", without=["GPT-5"]), tracker.FrontierAnswer)
    first: tracker.Gap = answer.gaps[0]
    assert first.ci_low is None or first.value is not None
    return {gap.id: gap.value for gap in answer.gaps}


def over_time(home: tracker.Home) -> tuple[float, int]:
    history = assert_type(home.gap_history("G1", as_of="2025-12-01"), tracker.GapHistory)
    ahead = assert_type(home.outlook(as_of="2025-12-01"), tracker.Outlook)
    return ahead.trend.per_year, len(history.months)


def elsewhere(home: tracker.Home) -> tuple[str, str]:
    """What others count; not ingested in this store."""
    try:
        share = assert_type(home.token_share(), tracker.TokenShare)
        history = assert_type(home.board_history("LMArena text"), tracker.BoardHistory)
        last: tracker.BoardGap = history.boards[-1]
        return f"{share.last_week.open:.0%}", last.best_open.model
    except tracker.TrackerError as error:
        return str(error), error.hint


def what_to_run(home: tracker.Home) -> tuple[str, str]:
    found = assert_type(home.what_fits("RTX 4090", limit=3), tracker.WhatFits)
    best: tracker.ModelThatFits = found.rows[0]
    plan = assert_type(home.plan(best.model_id, bits=4), tracker.CardPlan)
    card: tracker.PlannedCard = plan.rows[0]
    return best.model_id, card.card


def hardest(home: tracker.Home) -> tuple[str, float]:
    name = home.benchmarks().sort_values("solved")["benchmark"].iloc[0]
    found = assert_type(home.benchmark(name), tracker.BenchmarkAnswer)
    best: tracker.BenchmarkScore = found.scores[0]
    return best.model, best.score


def difference(comparison: tracker.Comparison) -> float:
    return assert_type(comparison.tasks[0].paired.difference, float)


def index_of(place: tracker.Placement | tracker.Unplaced) -> float | str:
    return place.index if isinstance(place, tracker.Placement) else place.reason


def best_on_a_card(home: tracker.Home) -> tuple[str, float]:
    curve = assert_type(home.best_that_fits(24, bits=4), tracker.BestThatFits)
    last: tracker.BestSoFar = curve.steps[-1]
    return last.model, last.value


def show(event: tracker.Event) -> None:
    print(event.event, event.n_done, event.n_total)


def refused(home: tracker.Home) -> str:
    """Everything that a bench takes; refused before anything is loaded."""
    settings = tracker.EngineSettings(engine="auto", max_model_len=4096)
    try:
        runs = home.bench("demo", suite=["quik"], limit=3, until=1.5, engine=settings, on_event=show)
        home.bench("demo", sampling="model", repeats=4, thinking_budgets=[1024, 4096], minutes=5)
        assert_type(runs, tuple[tracker.Run, ...])
        fit = assert_type(home.fit("demo", vram_gb=24, engine=settings), tracker.FitAnswer)
        assert_type(home.fit("demo", gpu="RTX 4090", engine=settings), tracker.FitAnswer)
        return str(fit.fit.total_bytes)
    except tracker.TrackerError as error:
        return error.hint


def losses(home: tracker.Home) -> list[float]:
    """A ladder without a copy is refused before anything is loaded; the results of one are a read."""
    try:
        found = home.ladder("demo", rungs=["dtype=bfloat16"], suite="quik", precision=0.5, on_event=show)
        found = assert_type(home.ladder_results("demo", suite="quick"), tracker.LadderResult)
        again = assert_type(home.repeatability("demo", "a run"), tracker.Repeatability | None)
        assert again is None or again.n_items
        told: list[tracker.SpeedEvent] = []
        load = tracker.SpeedLoad(sweep=(1, 4), bound=tracker.LatencyBound(ttft_s=1.0))
        speed = home.measure_speed("demo", load=load, engine="transformers", on_event=told.append)
        assert_type(speed, tracker.SpeedRun)
        assert len(home.speeds(speed.model.model_id)) == len(speed.levels)
        return [rung.loss.difference for rung in found.rungs if rung.loss is not None]
    except tracker.TrackerError:
        return []


def exchanged(home: tracker.Home) -> list[str]:
    """Nothing is there to import; an export is planned."""
    with suppress(tracker.TrackerError):
        assert_type(home.import_results("no such folder", dry_run=True), tracker.ImportOutcome)
    planned = assert_type(home.export("new", format="csv", table="runs", dry_run=True), tracker.ExportOutcome)
    return [file.file for file in planned.files]


def main(path: str) -> None:
    home = assert_type(tracker.open_home(path), tracker.Home)
    assert_type(home.path, Path)
    print(months_behind(home), over_time(home), refused(home))
    board = home.leaderboard("quick", task="count_letters", fits_gb=80)
    first, second = board["model_id"][:2]
    print(difference(home.compare(first, second, suite="quick", task="count_letters")))
    print(index_of(home.placement(home.runs(model=first)["run_id"][0])))
    print(len(home.models(max_params="8B")), len(home.items(board["run_id"][0], only="wrong")))
    print(len(home.measured()), len(home.vintages()), best_on_a_card(home))
    print(*elsewhere(home), losses(home), hardest(home), exchanged(home))
    print(len(home.trials(home.studies()["study_id"][0])), len(home.query("select 1 as one")))
