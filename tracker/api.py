"""The Python interface: what the command line answers, as frames and records.

    import tracker

    home = tracker.open_home()
    home.leaderboard("quick")

Nothing here prints, ends the process or needs the main thread. A problem that the caller can solve is a
`TrackerError` with a `hint`; a model that cannot be run is a `Run` with status `failed` and its reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runners.harness.events import Event
from tracker.answers.asked import FrontierOptions, answer_asked
from tracker.answers.benchmarks import (
    BenchmarkAnswer,
    BenchmarkScore,
    answer_benchmark,
    answer_benchmarks,
)
from tracker.answers.best_that_fits import BestSoFar, BestThatFits, CardBudget, answer_best_that_fits
from tracker.answers.board_history import BoardGap, BoardHistory, board_history
from tracker.answers.card_plan import CardPlan, PlannedCard, answer_card_plan
from tracker.answers.comparison import Comparison, compare_named
from tracker.answers.fits import Among, fits_frame, read_fits
from tracker.answers.frontier import FrontierAnswer
from tracker.answers.ladder import LadderResult, ladder_of
from tracker.answers.leaderboard import Narrowing, exported, read_leaderboard
from tracker.answers.measured import answer_measured, measured_document
from tracker.answers.models import hub_models, measured_models
from tracker.answers.options import param_limit
from tracker.answers.outlook import GapHistory, Outlook, gap_history, outlook
from tracker.answers.placement import place_run
from tracker.answers.repeatability import Repeatability, repeatability
from tracker.answers.shipped import answer_sql
from tracker.answers.speed import level_table, read_speeds
from tracker.answers.tables import frame_of, read_items, read_run, read_runs, read_studies, read_trials
from tracker.answers.token_share import TokenShare, token_share
from tracker.answers.vintages import vintages_document
from tracker.answers.what_fits import ModelThatFits, WhatFits, WhatFitsAsked, answer_what_fits
from tracker.bench.card import card_of
from tracker.bench.fit import AssumedCard, FitAnswer, predict_fit
from tracker.bench.request import BenchRequest, half_width
from tracker.bench.run import bench as run_bench
from tracker.bench.speed import SpeedEvent, SpeedRequest, measure_speed
from tracker.bench.workers import worker_count
from tracker.errors import EXIT_INTERRUPTED, TrackerError
from tracker.exchange.export_runs import ExportOutcome, ExportRequest, export_results
from tracker.exchange.import_runs import ImportOutcome
from tracker.exchange.import_runs import import_results as import_foreign
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.gap import Gap
from tracker.frontier.placement import Placement, Unplaced
from tracker.frontier.question import Question
from tracker.ladder.run import LadderRequest, precision_of
from tracker.ladder.run import ladder as measure_ladder
from tracker.records import EngineSettings, Run
from tracker.records.speed import LatencyBound, SpeedLoad, SpeedRun
from tracker.settings import Settings, load_settings, without_login
from tracker.store import Answer, QueryLimits

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BenchmarkAnswer",
    "BenchmarkScore",
    "BestSoFar",
    "BestThatFits",
    "BoardGap",
    "BoardHistory",
    "CardPlan",
    "Comparison",
    "EngineSettings",
    "Event",
    "ExportOutcome",
    "FitAnswer",
    "FrontierAnswer",
    "Gap",
    "GapHistory",
    "Home",
    "ImportOutcome",
    "LadderResult",
    "LatencyBound",
    "ModelThatFits",
    "Outlook",
    "Placement",
    "PlannedCard",
    "Repeatability",
    "Run",
    "SpeedEvent",
    "SpeedLoad",
    "SpeedRun",
    "TokenShare",
    "TrackerError",
    "Unplaced",
    "WhatFits",
    "open_home",
]


def open_home(path: Path | str | None = None) -> Home:
    """Open the home at `path`, by default that of the command line, which `TRACKER_HOME` names.

    A home is a folder with everything that was measured and ingested. One that does not exist yet is empty,
    and the first `Home.bench` creates it.

    Args:
        path: The folder; `~` is the user's own.

    Raises:
        TrackerError: `path` is a file, or an environment variable of the tracker has a wrong value.
    """
    folder = None if path is None else Path(path).expanduser()
    if folder is not None and folder.exists() and not folder.is_dir():
        raise TrackerError(f"`{folder}` is not a folder", hint="a home is a folder, such as `data/local`")
    return Home(load_settings(home=folder))


class Home:
    """Everything that was measured and ingested in one folder, and how to measure more.

    `open_home` makes one. It holds no file open, so it can be kept, shared between threads, and used while
    other programs write; each call reads the newest state. Scores are fractions of 1, times are UTC, sizes
    are bytes unless the name says otherwise. In a frame, a missing value means that it is not known.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._settings.home

    def frontier(
        self,
        *,
        as_of: date | str | None = None,
        since: date | str | None = None,
        vintage: date | str | None = None,
        without: Sequence[str] = (),
        only: Literal["private", "public"] | None = None,
        private_list: Literal["epoch_list", "extended_list"] = "extended_list",
        reported_by: Literal["first_party", "third_party"] | None = None,
        redistributable: bool = False,
        max_params: int | str | None = None,
        fits_gb: float | None = None,
        bits: float | None = None,
        override: Sequence[str] = (),
        benchmark: str | None = None,
        series: str | None = None,
    ) -> FrontierAnswer:
        """How far open models are behind closed ones, by every definition of the gap, with 90% intervals.

        The answer comes from the newest index that was ingested, else from the published scores that the
        program ships, so it works in an empty home; `answer.vintage` and `answer.age` say how old the data
        are. The first answer to a new question takes ten seconds; it is kept. `answer.gaps` has one `Gap` per
        definition and `answer.points` every model; `pandas.DataFrame(answer.gaps)` is a frame of them.

        Args:
            as_of: The day asked about, a date or `"2026-08-11"`, with the data known then. Default: the
                newest data.
            since: First day of averages over days. Default: twelve months before `as_of`.
            vintage: The published data as it stood on that day. Default: the newest.
            without: Models to leave out.
            only: Only private or only public benchmarks.
            private_list: Which list says what is private.
            reported_by: Only scores reported by the developers, or only by others.
            redistributable: Only scores whose license allows redistribution: Epoch AI's own evaluations, and
                leaderboards with an open license.
            max_params: Only open models with at most this many parameters, a number or `"40B"`.
            fits_gb: Only open models that fit this many gigabytes, with 16-bit weights unless `bits` says so.
            bits: Bits of a weight for `fits_gb`, such as 4; scores stay those of the published weights.
            override: Correct dates or labels: `release_scored`, `weights_published`, `access_label`, `all`.
            benchmark: Compare on one benchmark's score instead of the index.
            series: Compare on a dated series, `"SOURCE:BENCHMARK[/VARIANT]"` or a CSV file.

        Raises:
            TrackerError: The question cannot be answered; says why.
        """
        asked = FrontierOptions(
            as_of=as_of,
            since=since,
            vintage=vintage,
            without=_several(without),
            only=only,
            private_list=private_list,
            reported_by=reported_by,
            redistributable=redistributable,
            max_params=max_params,
            fits_gb=fits_gb,
            bits=bits,
            override=_several(override),
            benchmark=benchmark,
            series=series,
        )
        return answer_asked(asked, self._settings)

    def measured(self) -> pd.DataFrame:
        """The models measured here on the capability index, each by its newest run that can be placed.

        Returns:
            One row per model, the best first: `model_id`, `run_id`, `index` and its 90% interval `ci_low` to
            `ci_high`, `months_behind` closed models by `definition`, whether it is `calibrated`, its `day`
            and whether that `day_is` the release or the measurement. Models without a place come last, with
            the `reason`.

        Raises:
            TrackerError: No index can be fitted to the published scores.
        """
        import pandas as pd

        document = measured_document(answer_measured(Question(), self._settings))
        return pd.DataFrame([*document["measured"], *document["not_placed"]])

    def best_that_fits(self, memory_gb: float, *, bits: float) -> BestThatFits:
        """The best open model that fits a card over time, and how far it was behind closed models.

        Scores are those of the published weights: quantization is assumed to cost nothing.

        Args:
            memory_gb: The memory of the card in gigabytes (10^9 bytes).
            bits: Bits of a weight, such as 4 or 16.

        Returns:
            `steps` has one `BestSoFar` per model that was the best when it came out, the oldest first; for
            the gap by every definition ask `Home.frontier(fits_gb=…, bits=…)`.

        Raises:
            TrackerError: A value is out of range, or no open model is that small.
        """
        return answer_best_that_fits(CardBudget(memory_gb, bits), self._settings)

    def gap_history(
        self,
        definition: str | None = None,
        *,
        as_of: date | str | None = None,
        vintage: date | str | None = None,
        without: Sequence[str] = (),
        only: Literal["private", "public"] | None = None,
        max_params: int | str | None = None,
        override: Sequence[str] = (),
        benchmark: str | None = None,
    ) -> GapHistory:
        """The gap at the end of each month of three years, with 90% intervals.

        Every month end is computed from the same data, with the models released by then.
        `pandas.DataFrame(history.months)` is a frame of them.

        Args:
            definition: The id of a definition of the gap, such as `G4`. Default: the headline's.
            as_of: The last day, a date or `"2026-08-11"`. Default: the day of the vintage.
            vintage: The published data as it stood on that day. Default: the newest.
            without: Models to leave out.
            only: Only private or only public benchmarks.
            max_params: Only open models with at most this many parameters, a number or `"40B"`.
            override: Correct dates or labels: `release_scored`, `weights_published`, `access_label`, `all`.
            benchmark: Compare on one benchmark's score instead of the index.

        Raises:
            TrackerError: The question cannot be answered; says why.
        """
        asked = FrontierOptions(
            as_of=as_of,
            vintage=vintage,
            without=_several(without),
            only=only,
            max_params=max_params,
            override=_several(override),
            benchmark=benchmark,
        )
        return gap_history(asked.question(), self._settings, name=definition or HEADLINE)

    def outlook(
        self,
        *,
        as_of: date | str | None = None,
        vintage: date | str | None = None,
        without: Sequence[str] = (),
        override: Sequence[str] = (),
    ) -> Outlook:
        """When open models are expected at today's best closed level, and whether the gap closes.

        Args:
            as_of: The day to look ahead from, a date or `"2026-08-11"`. Default: the day of the vintage.
            vintage: The published data as it stood on that day. Default: the newest.
            without: Models to leave out.
            override: Correct dates or labels: `release_scored`, `weights_published`, `access_label`, `all`.

        Returns:
            `catch_up` has the expected day with its 90% interval, `trend` the yearly change of the distance
            with its own, `sentences` both in words.

        Raises:
            TrackerError: The question cannot be answered; says why.
        """
        asked = FrontierOptions(
            as_of=as_of, vintage=vintage, without=_several(without), override=_several(override)
        )
        return outlook(asked.question(), self._settings)

    def token_share(self) -> TokenShare:
        """The share of open-weight models in the tokens that OpenRouter routes, by day and by week.

        Returns:
            `last_week` has the shares as fractions of one, `last_week.open_high` what open models have at
            most; `weeks` and `days` are by day, `models` the most used of the last week.

        Raises:
            TrackerError: The source `openrouter-usage` has not been ingested.
        """
        return token_share(self._settings)

    def board_history(self, series: str = "LMArena text") -> BoardHistory:
        """How far the best open model was behind the best closed one on each published rating board.

        Args:
            series: A dated board, such as `"LMArena text"`, `"LMArena WebDev"` or `"LMArena agent"`.

        Returns:
            `boards` has one `BoardGap` per board, the oldest first, with 90% intervals in the board's unit.

        Raises:
            UnknownNameError: There is no such board.
            TrackerError: No board has been ingested.
        """
        return board_history(self._settings, series)

    def vintages(self) -> pd.DataFrame:
        """The states of the published index, the newest data first: those ingested and those shipped.

        Returns:
            One row per vintage: `day`, `age_days`, `source`, `ingested_on`, `n_models`, `n_scores`,
            `is_used`, `reason`, and the distance of our refit to the published index, `refit_mean_error` and
            `refit_max_error` in index points.
        """
        import pandas as pd

        return pd.DataFrame(vintages_document(self._settings)["vintages"])

    def benchmarks(self) -> pd.DataFrame:
        """The benchmarks with published scores: who leads, how far each is solved, months behind.

        Returns:
            One row per benchmark: `benchmark`, `domain`, `asks`, `is_private`, `n_items`, the best open and
            closed model with their scores, `solved` (0: guessing, 1: the highest possible score), `state`,
            `months_behind` (G3), `is_stale` and `lm_eval_task`, the task that measures it here.
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in answer_benchmarks(self._settings)])

    def benchmark(self, name: str) -> BenchmarkAnswer:
        """Everything known about one benchmark: its scores, the lag with its interval, how it is run here.

        Args:
            name: Such as `"GPQA diamond"`.

        Raises:
            UnknownNameError: No benchmark has that name.
        """
        return answer_benchmark(name, self._settings)

    def leaderboard(
        self,
        suite: str | None = None,
        *,
        task: str | None = None,
        fits_gb: float | None = None,
        max_params: int | str | None = None,
    ) -> pd.DataFrame:
        """The models measured here, ranked by one task; the best first.

        Models that share a rank are not significantly different.

        Args:
            suite: The suite. Default: the one with the most scores.
            task: The task to rank by. Default: the first of the suite.
            fits_gb: Only models that need at most this many gigabytes for a short context.
            max_params: Only models with at most this many parameters, a number or `"8B"`.

        Returns:
            One row per model and settings: `rank`, `model_id`, `score` and its 95% interval `ci_low` to
            `ci_high`, `n_items`, `needed_bytes`, `tokens_per_s`, `run_id`, the `index` with `index_basis`,
            `months_behind` by `months_definition`, and more.

        Raises:
            TrackerError: Nothing was measured on that suite or task.
        """
        by = Narrowing(fits_gb=fits_gb, max_params=param_limit(max_params))
        found = read_leaderboard(self._settings, suite=suite, task=task, by=by)
        return exported(found.rows).reset_index(drop=True)

    def models(
        self,
        *,
        license: str | None = None,
        max_params: int | str | None = None,
        known: bool = False,
        fits_gb: float | None = None,
    ) -> pd.DataFrame:
        """The models measured here, each with its newest run, the newest first.

        Args:
            license: Only models whose license contains this, such as `"apache"`.
            max_params: Only models with at most this many parameters, a number or `"8B"`.
            known: The models of the Hub, as the last ingest saw them, instead of those measured here.
            fits_gb: The models, measured here or on the Hub, that need at most this many gigabytes for a
                short context, each with the best settings that fit; with `known` only those on the Hub.

        Returns:
            One row per model: `model_id`, `revision`, `n_params`, `license`, and `run_id`, `suite` and
            `status` of its newest run, the `index` with `index_basis` and `months_behind`; with `known` or
            `fits_gb` also `needed_bytes` and what the Hub says.

        Raises:
            TrackerError: `max_params` is no number of parameters, or `fits_gb` no size of memory.
        """
        limit = param_limit(max_params)
        if known:
            found = hub_models(self._settings, license_part=license, max_params=limit, fits_gb=fits_gb)
            return frame_of(found.answer)
        if fits_gb is not None:
            among = Among(license=license, max_params=limit)
            return fits_frame(read_fits(self._settings, memory_gb=fits_gb, among=among))
        return frame_of(measured_models(self._settings, license_part=license, max_params=limit))

    def runs(
        self, *, model: str | None = None, suite: str | None = None, status: str | None = None
    ) -> pd.DataFrame:
        """The runs, the newest first, failed ones with their `reason` and `detail`.

        Args:
            model: Only runs of this model, as `Home.models` lists it, its folder, or `"demo"`.
            suite: Only runs of this suite.
            status: Only `"complete"`, `"partial"`, `"interrupted"`, `"failed"` or `"running"` ones.

        Returns:
            One row per run: the table `runs`, which docs/data.md describes.

        Raises:
            TrackerError: There is no such model or status.
        """
        return frame_of(read_runs(self._settings, model=model, suite=suite, status=status))

    def items(
        self,
        run_id: str,
        *,
        task: str | None = None,
        only: Literal["right", "wrong", "unparsed", "truncated"] | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Every question of a run with the model's answer.

        Args:
            run_id: A run, as `Home.runs` lists it.
            task: Only this task.
            only: Only the items that were answered right, wrong, without a readable answer, or cut off.
            limit: At most this many rows.

        Returns:
            One row per item, in the order of the tasks: `task`, `doc_id`, `prompt`, `response`, `extracted`,
            `target`, `score`, tokens and seconds; docs/data.md describes the table `items`.

        Raises:
            TrackerError: There is no such run, or no such task in it.

        Warns:
            UserWarning: Items of the run can no longer be read; `attrs["missing_parts"]` counts their parts.
        """
        return _told(read_items(self._settings, run_id, task=task, only=only, limit=limit))

    def compare(
        self, first: str, second: str, *, suite: str | None = None, task: str | None = None
    ) -> Comparison:
        """Compare two models measured here on the items that both answered, with 95% intervals.

        Args:
            first: A model, as `Home.models` lists it, its folder, or `"demo"`.
            second: The one to compare it with.
            suite: Only this suite.
            task: Only this task.

        Returns:
            `tasks` has one row per task, and its `paired` the difference, first minus second.

        Raises:
            TrackerError: A model is not known, or the two have no item in common.
        """
        return compare_named(first, second, self._settings, suite=suite, task=task)

    def repeatability(self, model: str, run_id: str) -> Repeatability | None:
        """How often the answers of a run differ from those of the newest earlier run of the same weights.

        Args:
            model: Measured here, as `Home.models` lists it.
            run_id: One of its runs.

        Returns:
            `flip_rate` is the share of items with another score, with its 95% interval; None if no earlier
            run of the same revision and suite answered these items anew.

        Raises:
            UnknownNameError: No such model or run.
        """
        return repeatability(run_id, model, self._settings)

    def ladder_results(self, model: str, *, suite: str | None = None) -> LadderResult:
        """What the copies of a model lose on the same items, as `Home.ladder` measured it last.

        Args:
            model: The parent, by its id or as it was named.
            suite: Only a ladder on this suite.

        Returns:
            `rungs` has the parent and its copies; `loss` of each is rung minus reference, as fractions of 1,
            and `shift` what that is worth in index points and months.

        Raises:
            TrackerError: No ladder of it has been measured here.
        """
        return ladder_of(model, self._settings, suite=suite)

    def placement(self, run: Run | str) -> Placement | Unplaced:
        """Where a run puts its model on the capability index, and how many months that is behind.

        Args:
            run: A run that `Home.bench` returned, or the id of one.

        Returns:
            The place with its 90% intervals, or `Unplaced` with the reason.

        Raises:
            TrackerError: There is no such run.
        """
        found = read_run(self._settings, run) if isinstance(run, str) else run
        return place_run(found, self._settings)

    def studies(self) -> pd.DataFrame:
        """The studies of auto-research, the newest first.

        Returns:
            One row per study: `study_id`, `agent`, `tier`, `track`, `status`, the confirmed `gain_bpb` with
            its interval and the `claimed_gain_bpb` in bits per byte, counts of trials, tokens and seconds.
        """
        return frame_of(read_studies(self._settings))

    def trials(self, study_id: str) -> pd.DataFrame:
        """The finished trials of a study, in their order.

        Args:
            study_id: A study, as `Home.studies` lists it.

        Returns:
            One row per trial: the table `trials`, which docs/data.md describes.

        Raises:
            TrackerError: There is no such study.
        """
        return frame_of(read_trials(self._settings, study_id))

    def query(self, sql: str, *, timeout: float = 60.0, max_rows: int = 100_000) -> pd.DataFrame:
        """The rows of one SELECT over runs, scores, items, the index and the published scores.

        It runs in a process of its own, which may take 1 GB of memory.

        Args:
            sql: One SELECT of DuckDB's SQL, or `show tables`, `describe TABLE`; docs/data.md lists them.
            timeout: Seconds until it is ended.
            max_rows: At most this many rows, and at most 64 MiB of them; a warning tells if there are more.

        Raises:
            TrackerError: It is not one SELECT, DuckDB cannot answer it, or it exceeds a limit.
        """
        return _told(answer_sql(sql, self._settings, QueryLimits(timeout=timeout, max_rows=max_rows)))

    def fit(
        self,
        model: str,
        *,
        gpu: str | None = None,
        vram_gb: float | None = None,
        context: int | None = None,
        engine: EngineSettings | str = "auto",
    ) -> FitAnswer:
        """Predict the memory that a model needs, whether it fits, and the settings that would make it fit.

        No weights are downloaded: their headers and `config.json` are read.

        Args:
            model: A Hub id (`"org/name[@revision]"`, of a GGUF `"org/name:Q4_K_M"`), a local folder of
                safetensors, a GGUF file, or `"demo"`.
            gpu: Assume this card, such as `"RTX 4090"`, instead of this machine's hardware.
            vram_gb: Assume one GPU with this many GB (10^9 bytes) instead of this machine's hardware.
            context: Context length in tokens; default: as much as the engine would reserve.
            engine: The name of an engine, or `EngineSettings` for more settings; without an `engine` of their
                own, those mean transformers.

        Returns:
            `fit` has the verdict (`fits`), the bytes and `suggestions`; `by_context` one row per context.

        Raises:
            TrackerError: There is no such model, it cannot be run, or the Hub is down.
        """
        assumed = AssumedCard(gpu, vram_gb)
        return predict_fit(model, _engine(engine), self._settings, assumed=assumed, context=context)

    def what_fits(
        self,
        gpu: str | None = None,
        *,
        memory_gb: float | None = None,
        context: int = 4096,
        bits: float | None = None,
        license: str | None = None,
        limit: int | None = None,
    ) -> WhatFits:
        """The open models that fit a card, best first, from what is shipped and what an ingest saw.

        Args:
            gpu: The card, such as `"RTX 4090"` or `"2x RTX 3090"`; default: this machine's.
            memory_gb: Instead of a card, its memory in GB (10^9 bytes).
            context: Context length in tokens.
            bits: Only at this many bits of a weight; default: the most of 16, 8 and 4 that fit.
            license: Only models whose license contains this.
            limit: At most this many models.

        Returns:
            `rows` has each model with its index, months behind, `needed_bytes`, estimated `tokens_per_s` and
            the grade of its evidence; `notes` says what is assumed.

        Raises:
            TrackerError: There is no such card, or a value is out of range.
        """
        asked = WhatFitsAsked(context, bits, license, limit)
        return answer_what_fits(card_of(gpu, memory_gb=memory_gb), asked, self._settings)

    def plan(
        self, model: str, *, bits: float | None = None, context: int = 4096, limit: int | None = None
    ) -> CardPlan:
        """The smallest cards that would run a model.

        Args:
            model: A Hub id, or its part after the slash.
            bits: Only at this many bits of a weight; default: at 4, 8 and 16.
            context: Context length in tokens.
            limit: At most this many cards for each number of bits; default: 5.

        Returns:
            `rows` has the cards by number of bits, the least memory first.

        Raises:
            TrackerError: The catalogue has no such model, or a value is out of range.
        """
        return answer_card_plan(model, WhatFitsAsked(context, bits, limit=limit), self._settings)

    def bench(
        self,
        model: str,
        *,
        suite: str | Sequence[str] = (),
        task: str | Sequence[str] = (),
        include_path: Path | str | None = None,
        limit: int | None = None,
        num_fewshot: int | None = None,
        metric: str | None = None,
        filter: str | None = None,
        chat: bool | None = None,
        system: str | None = None,
        sampling: str | None = None,
        repeats: int | None = None,
        replicate: int = 1,
        thinking_budgets: int | Sequence[int] = (),
        until: float | None = None,
        until_mean: float | None = None,
        until_better_than: str | None = None,
        minutes: float | None = None,
        executor: str | None = None,
        data_parallel: int | str = 1,
        engine: EngineSettings | str = "auto",
        on_event: Callable[[Event], None] | None = None,
    ) -> tuple[Run, ...]:
        """Measure one model: check that it fits, run it in a process of its own, keep every answer.

        Repeating a call resumes it: what is already measured is not asked again. Ctrl-C stops after the
        current answer, a second one at once; what was measured is stored, then `KeyboardInterrupt` is raised.

        Args:
            model: A Hub id (`"org/name[@revision]"`), a local folder, `"demo"`, or the name on a server.
            suite: A suite or several, by name or as TOML files. Default: place (offline, `demo`: quick).
            task: Any task of lm-eval or of `include_path`, or several.
            include_path: A folder with your own task YAML files.
            limit: Ask only this many items of each task, a random sample.
            num_fewshot: Few-shot examples of a `task`. Default: as its file says.
            metric: The metric that is the score of a `task`. Default: its first one between 0 and 1.
            filter: The filter whose answers are scored. Default: the task's first.
            chat: Send a `task` through the model's chat template, or as plain text. Default: through it if
                its answer is written, as plain text if choices or continuations are scored.
            system: A system message for a `task`.
            sampling: How tokens of written answers are chosen: `"task"`, `"greedy"` or `"model"`, which is as
                the model's own `generation_config.json` says. Default: as the suite says, else as the task.
            repeats: Ask each question with a sampled answer this many times.
            replicate: Which measurement of the same this is: 2 asks every item a second time, whatever has
                been answered. `Home.repeatability` tells how many items changed; it counts nowhere else.
            thinking_budgets: Tokens of each written answer with its thinking; one run for each of several.
            until: Stop a task when the half width of its 95% interval is at most this many percentage
                points.
            until_mean: Stop a suite when the half width of the 95% interval of the mean of its tasks, each
                counted equally, is at most this many points; `suite_mean` of the runs has that mean.
            until_better_than: Stop a task when this model, measured here, is told apart from `model` on the
                items that it has answered; `against` of the runs has the difference with its interval.
            minutes: Stop cleanly after this many minutes; the scores so far are valid.
            executor: Where the job runs: `"local"`, `"ray"`, `"slurm"`, an installed one, or
                `"package.module:Class"`. Default: TRACKER_EXECUTOR, else local.
            data_parallel: Workers that share the job, each with cards of its own, or `"auto"`: one for each.
            engine: The name of an engine, or `EngineSettings` for more settings; without an `engine` of their
                own, those mean transformers.
            on_event: Called in this thread with every `Event`: loading, progress, warnings. An exception
                that it raises ends the bench; what was measured is kept.

        Returns:
            One `Run` per suite and token budget. A model that cannot be run is not an exception: its runs
            have the status `failed`, a `reason` and a `detail`.

        Raises:
            TrackerError: The call is wrong, another bench is running in this home, or the Hub is down.
            KeyboardInterrupt: The bench was interrupted.
        """
        request = BenchRequest(
            model=model,
            engine=_engine(engine),
            suites=_several(suite),
            tasks=_several(task),
            include_path=None if include_path is None else Path(include_path),
            limit=limit,
            num_fewshot=num_fewshot,
            metric=metric,
            filter=filter,
            chat=chat,
            system=system,
            sampling=sampling,
            repeats=repeats,
            replicate=replicate,
            thinking_budgets=(
                tuple(thinking_budgets)
                if isinstance(thinking_budgets, Iterable) and not isinstance(thinking_budgets, str)
                else (thinking_budgets,)
            ),
            until_half_width=half_width(until),
            until_mean_half_width=half_width(until_mean, field="until_mean"),
            until_better_than=until_better_than,
            minutes=minutes,
            executor=executor,
            data_parallel=worker_count(data_parallel),
        )
        end = run_bench(request, self._settings, on_event or _ignore)
        if end.exit_code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        return end.runs

    def measure_speed(
        self,
        model: str,
        *,
        load: SpeedLoad | None = None,
        minutes: float | None = None,
        engine: EngineSettings | str = "auto",
        on_event: Callable[[SpeedEvent], None] | None = None,
    ) -> SpeedRun:
        """Measure the speed of one model's server with vLLM's load generator, at each concurrency of a sweep.

        Args:
            model: As for `Home.bench`. The engine must have a server: vLLM, llama.cpp, or a running one.
            load: The requests under way at once, their number and lengths, and the bound of goodput.
                Default: `SpeedLoad()`.
            minutes: Stop after this many minutes of measuring; levels that are finished count.
            engine: As for `Home.bench`.
            on_event: Called in this thread with every `SpeedEvent`.

        Returns:
            The measurement, stored and published. A model that cannot be run is not an exception: it has the
            status `failed`, a `reason` and a `detail`.

        Raises:
            TrackerError: The call is wrong, there is no load generator, or another bench is running.
            KeyboardInterrupt: It was interrupted; finished levels are kept.
        """
        request = SpeedRequest(model, _engine(engine), load or SpeedLoad(), minutes)
        return measure_speed(request, self._settings, on_event or _ignore).run

    def speeds(self, model: str | None = None) -> pd.DataFrame:
        """The speeds that were measured by a load generator, the newest first.

        Args:
            model: Only this model. Default: every one.

        Returns:
            One row per measurement and number of requests under way at once: model, `device`, `engine`,
            `settings`, `started_at`, `output_tokens_per_s`, `goodput_per_s`, and the median, 95% interval and
            quantiles of the times to the first token (`ttft_s`), per token after it (`tpot_s`), between
            pieces (`itl_s`) and to the last token (`e2el_s`).

        Raises:
            TrackerError: There is no such model.
        """
        import pandas as pd

        return pd.DataFrame(level_table(read_speeds(self._settings, model)))

    def import_results(
        self, path: Path | str, *, format: str | None = None, dry_run: bool = False
    ) -> ImportOutcome:
        """Import results with samples that lm-eval or Inspect measured, or records of Every Eval Ever.

        They stand beside the runs measured here, marked as imported: `runs` has their `origin`, their models
        end in ` (imported)`, and they are never on the index. The same content is imported once.

        Args:
            path: A results file of lm-eval, a log of Inspect, a record, or a folder of them.
            format: `"lm-eval"`, `"inspect"` or `"every-eval-ever"`. Default: what the content says.
            dry_run: Check everything, and write nothing.

        Returns:
            `runs` has each run with its `state`, `refused` each file of a folder that was refused, and why.

        Raises:
            TrackerError: The file is none that is read, is damaged or contradicts itself.
        """
        return import_foreign(Path(path).expanduser(), self._settings, name=format, is_dry_run=dry_run)

    def export(
        self,
        folder: Path | str,
        *,
        format: Literal["parquet", "csv", "jsonl", "every-eval-ever", "hub"] = "parquet",
        table: str | Sequence[str] = (),
        model: str | None = None,
        suite: str | None = None,
        organization: str | None = None,
        dry_run: bool | None = None,
    ) -> ExportOutcome:
        """Export tables, records of Every Eval Ever, or results for the Hub to a new folder.

        Published scores whose terms do not allow passing them on are held back. Nothing is uploaded.

        Args:
            folder: A folder that does not exist yet.
            format: Tables with a data dictionary as `"parquet"`, `"csv"` or `"jsonl"`, a record and its
                samples for each run, or files for `.eval_results` of model repositories.
            table: Only this table or these; `docs/exchange.md` lists them.
            model: Only runs of this model, for records and the Hub.
            suite: Only runs of this suite, for records and the Hub.
            organization: Who measured the runs, for records.
            dry_run: Count and check everything, and write nothing. Default: only for `"hub"`.

        Returns:
            `files` with their numbers of rows, and `held_back` with numbers and reasons.

        Raises:
            TrackerError: The folder exists, there is no such table, model or suite, or nothing to export.
        """
        request = ExportRequest(
            kind=format,
            tables=_several(table),
            model=model,
            suite=suite,
            organization=organization,
            is_dry_run=format == "hub" if dry_run is None else dry_run,
        )
        return export_results(Path(folder).expanduser(), request, self._settings)

    def ladder(
        self,
        model: str,
        copies: Sequence[str] = (),
        *,
        rungs: Sequence[str] = (),
        suite: str | None = None,
        task: str | Sequence[str] = (),
        include_path: Path | str | None = None,
        precision: float = 1.0,
        limit: int | None = None,
        minutes: float | None = None,
        executor: str | None = None,
        engine: EngineSettings | str = "auto",
        on_event: Callable[[Event], None] | None = None,
    ) -> LadderResult:
        """Measure a model and its copies on the same items, until what each copy loses is known.

        Repeating a call resumes it: what is already measured is not asked again.

        Args:
            model: The model that the others are compared with, as for `Home.bench`.
            copies: Its copies. Default: the quantized ones that ingestion knows and that fit.
            rungs: More rungs: settings in which one differs from `model`, such as `"dtype=bfloat16"`, a copy,
                or a copy with settings, `"org/name-AWQ,max-model-len=4096"`.
            suite: One suite, by name or as a TOML file. Default: as for `Home.bench`.
            task: Any task of lm-eval or of `include_path`, or several, instead of a suite.
            include_path: A folder with your own task YAML files.
            precision: A rung is done once its difference is known to ± this many percentage points.
            limit: Ask at most this many items of each task.
            minutes: Stop after this many minutes; the differences so far are valid.
            executor: Where the jobs run, as for `Home.bench`.
            engine: The name of an engine, or `EngineSettings` for more settings.
            on_event: Called in this thread with every `Event` of each bench.

        Returns:
            The ladder, as `Home.ladder_results` reads it. A rung that cannot be run is not an exception: its
            `status` is `failed`, with a `reason` and a `detail`.

        Raises:
            TrackerError: The call is wrong, another ladder or bench is running in this home.
            KeyboardInterrupt: It was interrupted.
        """
        request = LadderRequest(
            model=model,
            engine=_engine(engine),
            copies=tuple(copies),
            rungs=tuple(rungs),
            suite=suite,
            tasks=_several(task),
            include_path=None if include_path is None else Path(include_path),
            precision=precision_of(precision),
            limit=limit,
            minutes=minutes,
            executor=executor,
        )
        return measure_ladder(request, self._settings, on_event or _ignore)


def _engine(given: EngineSettings | str) -> EngineSettings:
    if isinstance(given, str):
        return EngineSettings(engine=given)
    return replace(given, base_url=without_login(given.base_url)) if given.base_url else given


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _ignore(event: Event | SpeedEvent) -> None:
    """Nobody asked for progress."""


def _told(answer: Answer) -> pd.DataFrame:
    """The answer as a frame, with a warning if it is incomplete."""
    if answer.missing:
        warnings.warn(f"{answer.missing.sentence}; `tracker store check` tells more", stacklevel=3)
    if answer.has_more:
        warnings.warn(f"the answer has more rows than the first {len(answer.rows):,}", stacklevel=3)
    return frame_of(answer)
