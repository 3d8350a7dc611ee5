"""Every face gives the same answer: some questions on one store, each asked wherever it can be asked.

A face that is added is one more class here, with a method for every question that it answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

import tracker
from app.data import frontier_views, gap_histories, measured_models
from app.http.routes import ROUTES
from tests.builders.board_builder import BOARD_NAME, board
from tests.builders.store_builder import NOW, build_store, measure_published
from tests.doubles.app_visit import handed_over, said, shown_facts, visit
from tracker.answers.agent_board import StudyRow
from tracker.answers.agent_board import board as agents_board
from tracker.answers.benchmarks import answer_benchmark
from tracker.answers.best_that_fits import CardBudget, answer_best_that_fits
from tracker.answers.cards import find_card
from tracker.answers.comparison import compare_models
from tracker.answers.digest import digest
from tracker.answers.fits import read_fits
from tracker.answers.frontier import answer_on_series, answer_question
from tracker.answers.leaderboard import read_leaderboard
from tracker.answers.measured import answer_measured
from tracker.answers.models import measured_models as models_measured
from tracker.answers.outlook import gap_history, outlook
from tracker.answers.pareto import MeasuredCost, measured_offers
from tracker.answers.placement import place_run
from tracker.answers.what_fits import WhatFitsAsked, answer_what_fits
from tracker.cli import main
from tracker.files.items import read_run
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.placement import Placement
from tracker.frontier.question import Question
from tracker.settings import Settings
from tracker.store import open_snapshot

Values = Mapping[str, Any]  # what is asked about → a number or a name
FIRST, SECOND, TASK = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking", "count_letters"
PUBLISHED, PUBLISHED_ID = "Kimi K3", "moonshotai/Kimi-K3"
CARD_GB, BITS = 24, 4
BENCHMARK = "GPQA diamond"
CARD, MOST = "RTX 4090", 30
QUESTIONS = (
    "gaps", "best", "leader", "difference", "placement", "pareto", "board_gaps", "fits", "changes", "agents",
    "measured", "listed", "best_that_fits", "what_fits",
    "months_ago", "ahead", "benchmark",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answers:
    """The floor under all faces."""

    settings: Settings
    run_id: str  # of the published model
    digits: float = 1e-9

    def gaps(self) -> Values:
        return {row.id: row.value for row in answer_question(Question(), self.settings).gaps}

    def best(self) -> Values:
        found = answer_question(Question(), self.settings)
        return {"open": found.best_open.model, "closed": found.best_closed.model}

    def leader(self) -> Values:
        first = read_leaderboard(self.settings, suite="quick", task=TASK).rows.iloc[0]
        return {"model": first["model_id"], "rank": first["rank"], "score": first["score"]}

    def difference(self) -> Values:
        (row,) = compare_models(FIRST, SECOND, self.settings, suite="quick", task=TASK).tasks
        found = row.paired
        return {"value": found.difference, "low": found.ci_low, "high": found.ci_high}

    def placement(self) -> Values:
        found = place_run(read_run(self.settings.items_path / self.run_id), self.settings)
        assert isinstance(found, Placement)
        return {"index": found.index, "months": found.months_behind}

    def pareto(self) -> Values:
        found = measured_offers(self.settings, MeasuredCost.MEMORY, task=TASK)
        return {row.model: row.value for row in found.offers if row.on_frontier}

    def board_gaps(self) -> Values:
        return {row.id: row.value for row in answer_on_series(BOARD_NAME, Question(), self.settings).gaps}

    def fits(self) -> Values:
        rows = read_fits(self.settings, memory_gb=CARD_GB, suite="quick", task=TASK).rows
        return dict(zip(rows["model_id"], rows["needs 4096"], strict=True))

    def changes(self) -> Values:
        found = digest(self.settings, since=NOW - timedelta(days=7), until=NOW, most=None)
        return {section.title: section.lines for section in found.sections if section.n}

    def measured(self) -> Values:
        found = answer_measured(Question(), self.settings)
        assert found is not None
        (row,) = found.newest
        place = row.placement
        return {row.model_id: place.index, "low": place.ci_low, "months": place.months_behind}

    def listed(self) -> Values:
        rows = models_measured(self.settings).records()
        (row,) = (row for row in rows if row["model_id"] == PUBLISHED_ID)
        return {name: row[name] for name in ("index", "index_ci_low", "index_basis", "months_behind")}

    def what_fits(self) -> Values:
        found = answer_what_fits(find_card(CARD), WhatFitsAsked(limit=MOST), self.settings)
        return {row.model_id: row.index for row in found.rows}

    def best_that_fits(self) -> Values:
        found = answer_best_that_fits(CardBudget(CARD_GB, BITS), self.settings)
        return {row.model: row.value for row in found.steps}

    def benchmark(self) -> Values:
        found = answer_benchmark(BENCHMARK, self.settings)
        assert found.lag is not None
        best = found.scores[0]
        return {"low": found.lag.ci_low, "high": found.lag.ci_high, best.model: best.score}

    def months_ago(self) -> Values:
        found = gap_history(Question(), self.settings)
        return {str(row.as_of): row.value for row in found.months}

    def ahead(self) -> Values:
        found = outlook(Question(), self.settings)
        assert found.catch_up is not None
        return {"slope": found.trend.per_year, "level": found.catch_up.level, "model": found.catch_up.model}

    def agents(self) -> Values:
        with open_snapshot(self.settings) as snapshot:
            rows = [StudyRow(**row) for row in snapshot.query("research_board")]
        largest = max(agents_board(rows), key=lambda group: len(group.rows))
        return {row.agent: row.gain_bpb for row in largest.rows}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`tracker … --json`."""

    capsys: pytest.CaptureFixture[str]
    digits: float = 1e-9

    def _ask(self, *words: str) -> Any:
        self.capsys.readouterr()
        main([*words, "--json"])
        return json.loads(self.capsys.readouterr().out)

    def gaps(self) -> Values:
        return {row["id"]: row["value"] for row in self._ask("frontier")["definitions"]}

    def best(self) -> Values:
        found = self._ask("frontier")
        return {"open": found["best_open"]["model"], "closed": found["best_closed"]["model"]}

    def leader(self) -> Values:
        first = self._ask("leaderboard", "--suite", "quick", "--task", TASK)["models"][0]
        return {"model": first["model_id"], "rank": first["rank"], "score": first["score"]}

    def difference(self) -> Values:
        (row,) = self._ask("compare", FIRST, SECOND, "--suite", "quick", "--task", TASK)["tasks"]
        return {"value": row["difference"], "low": row["ci_low"], "high": row["ci_high"]}

    def pareto(self) -> Values:
        rows = self._ask("frontier", "pareto", "--cost", "memory", "--task", TASK)["models"]
        return {row["model"]: row["value"] for row in rows if row["on_frontier"]}

    def board_gaps(self) -> Values:
        rows = self._ask("frontier", "--series", BOARD_NAME)["definitions"]
        return {row["id"]: row["value"] for row in rows}

    def fits(self) -> Values:
        rows = self._ask("models", "--fits-gb", str(CARD_GB))["models"]
        return {row["model_id"]: row["needed_bytes"] for row in rows}

    def changes(self) -> Values:
        sections = self._ask("digest")["sections"]
        return {section["title"]: tuple(section["lines"]) for section in sections if section["n"]}

    def measured(self) -> Values:
        (row,) = self._ask("frontier")["measured"]
        return {row["model_id"]: row["index"], "low": row["ci_low"], "months": row["months_behind"]}

    def listed(self) -> Values:
        (row,) = (row for row in self._ask("models")["models"] if row["model_id"] == PUBLISHED_ID)
        return {name: row[name] for name in ("index", "index_ci_low", "index_basis", "months_behind")}

    def what_fits(self) -> Values:
        rows = self._ask("fit", "--gpu", CARD, "--limit", str(MOST))["models"]
        return {row["model_id"]: row["index"] for row in rows}

    def best_that_fits(self) -> Values:
        found = self._ask("frontier", "--fits-gb", str(CARD_GB), "--bits", str(BITS))["best_that_fits"]
        return {row["model"]: row["value"] for row in found["steps"]}

    def benchmark(self) -> Values:
        return benchmark_values(self._ask("benchmarks", BENCHMARK))

    def months_ago(self) -> Values:
        return {row["as_of"]: row["value"] for row in self._ask("frontier", "history")["months"]}

    def ahead(self) -> Values:
        found = self._ask("frontier", "outlook")
        reached = found["catch_up"]
        return {"slope": found["trend"]["per_year"], "level": reached["level"], "model": reached["model"]}

    def agents(self) -> Values:
        largest = max(self._ask("research", "board")["groups"], key=lambda group: len(group["rows"]))
        return {row["agent"]: row["gain_bpb"] for row in largest["rows"]}


@dataclass(frozen=True, slots=True)
class Python:
    """`import tracker`."""

    home: tracker.Home
    run_id: str
    digits: float = 1e-9

    def gaps(self) -> Values:
        return {gap.id: gap.value for gap in self.home.frontier().gaps}

    def best(self) -> Values:
        found = self.home.frontier()
        return {"open": found.best_open.model, "closed": found.best_closed.model}

    def leader(self) -> Values:
        first = self.home.leaderboard("quick", task=TASK).iloc[0]
        return {"model": first["model_id"], "rank": first["rank"], "score": first["score"]}

    def difference(self) -> Values:
        (row,) = self.home.compare(FIRST, SECOND, suite="quick", task=TASK).tasks
        return {"value": row.paired.difference, "low": row.paired.ci_low, "high": row.paired.ci_high}

    def placement(self) -> Values:
        found = self.home.placement(self.run_id)
        assert isinstance(found, tracker.Placement)
        return {"index": found.index, "months": found.months_behind}

    def board_gaps(self) -> Values:
        return {gap.id: gap.value for gap in self.home.frontier(series=BOARD_NAME).gaps}

    def measured(self) -> Values:
        row = self.home.measured().iloc[0]
        return {row["model_id"]: row["index"], "low": row["ci_low"], "months": row["months_behind"]}

    def listed(self) -> Values:
        row = self.home.models().set_index("model_id").loc[PUBLISHED_ID]
        return {name: row[name] for name in ("index", "index_ci_low", "index_basis", "months_behind")}

    def what_fits(self) -> Values:
        return {row.model_id: row.index for row in self.home.what_fits(CARD, limit=MOST).rows}

    def best_that_fits(self) -> Values:
        return {row.model: row.value for row in self.home.best_that_fits(CARD_GB, bits=BITS).steps}

    def benchmark(self) -> Values:
        found = self.home.benchmark(BENCHMARK)
        assert found.lag is not None
        best = found.scores[0]
        return {"low": found.lag.ci_low, "high": found.lag.ci_high, best.model: best.score}

    def months_ago(self) -> Values:
        return {str(row.as_of): row.value for row in self.home.gap_history().months}

    def ahead(self) -> Values:
        found = self.home.outlook()
        assert found.catch_up is not None
        return {"slope": found.trend.per_year, "level": found.catch_up.level, "model": found.catch_up.model}

    def fits(self) -> Values:
        rows = self.home.models(fits_gb=CARD_GB)
        return dict(zip(rows["model_id"], rows["needed_bytes"], strict=True))


@dataclass(frozen=True, slots=True)
class Routes:
    """`/api/….json`."""

    client: TestClient
    run_id: str
    digits: float = 1e-9

    def _ask(self, table: str, **asked: str | int) -> Any:
        answer = self.client.get(f"/api/{table}.json", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    def gaps(self) -> Values:
        found = self._ask("frontier")
        assert found["intervals"] == "given"
        return {row["id"]: row["value"] for row in found["definitions"]}

    def best(self) -> Values:
        found = self._ask("frontier")
        return {"open": found["best_open"]["model"], "closed": found["best_closed"]["model"]}

    def leader(self) -> Values:
        first = self._ask("leaderboard", suite="quick", task=TASK)[0]
        return {"model": first["model_id"], "rank": first["rank"], "score": first["score"]}

    def difference(self) -> Values:
        (row,) = self._ask("compare", first=FIRST, second=SECOND, suite="quick", task=TASK)["tasks"]
        return {"value": row["difference"], "low": row["ci_low"], "high": row["ci_high"]}

    def placement(self) -> Values:
        found = self._ask("placement", run_id=self.run_id)["placement"]
        return {"index": found["index"], "months": found["months_behind"]}

    def pareto(self) -> Values:
        rows = self._ask("pareto", cost="memory", task=TASK)["models"]
        return {row["model"]: row["value"] for row in rows if row["on_frontier"]}

    def board_gaps(self) -> Values:
        return {row["id"]: row["value"] for row in self._ask("frontier", axis=BOARD_NAME)["definitions"]}

    def benchmark(self) -> Values:
        return benchmark_values(self._ask("benchmarks", benchmark=BENCHMARK))

    def months_ago(self) -> Values:
        assert gap_histories.over_time(Question(), HEADLINE, wait_s=60.0) is not None
        months = self._ask("frontier-over-time")["history"]["months"]
        return {row["as_of"]: row["value"] for row in months}

    def ahead(self) -> Values:
        assert gap_histories.over_time(Question(), HEADLINE, wait_s=60.0) is not None
        found = self._ask("frontier-over-time")["outlook"]
        reached = found["catch_up"]
        return {"slope": found["trend"]["per_year"], "level": reached["level"], "model": reached["model"]}

    def fits(self) -> Values:
        rows = self._ask("fits", gb=CARD_GB, suite="quick", task=TASK)["models"]
        return {row["model_id"]: row["needed_bytes"] for row in rows}

    def changes(self) -> Values:
        found: dict[str, tuple[str, ...]] = {}
        for row in self._ask("changes"):
            found[row["title"]] = (*found.get(row["title"], ()), row["change"])
        return found

    def measured(self) -> Values:
        (row,) = self._ask("frontier")["measured"]
        return {row["model_id"]: row["index"], "low": row["ci_low"], "months": row["months_behind"]}

    def listed(self) -> Values:
        (row,) = (row for row in self._ask("models") if row["model_id"] == PUBLISHED_ID)
        return {name: row[name] for name in ("index", "index_ci_low", "index_basis", "months_behind")}

    def what_fits(self) -> Values:
        rows = self._ask("what-fits", gpu=CARD, limit=MOST)["models"]
        return {row["model_id"]: row["index"] for row in rows}

    def best_that_fits(self) -> Values:
        found = self._ask("frontier", fits_gb=CARD_GB, bits=BITS)["best_that_fits"]
        return {row["model"]: row["value"] for row in found["steps"]}

    def agents(self) -> Values:
        largest = max(self._ask("research"), key=lambda group: len(group["rows"]))
        return {row["agent"]: row["gain_bpb"] for row in largest["rows"]}


@dataclass(frozen=True, slots=True)
class Pages:
    """What a visitor of the app reads, to the digits that are shown; tables of text as they download."""

    digits: float = 0.06

    def gaps(self) -> Values:
        return self._definitions(visit("frontier").dataframe[0].value)

    def best(self) -> Values:
        said = [link.proto.label for link in visit("frontier").get("page_link")]
        named = (
            re.fullmatch(r"View (.+), the best (open|closed) model", each.replace("\\", "")) for each in said
        )
        return {found[2]: found[1] for found in named if found}

    def leader(self) -> Values:
        first = visit("leaderboard", suite="quick", task=TASK).dataframe[0].value.iloc[0]
        return {"model": first["label"], "rank": first["rank"], "score": first["score"]}

    def difference(self) -> Values:
        session = visit("compare", compare=[FIRST, SECOND], compare_suite="quick")
        row = session.dataframe[0].value.set_index("task").loc[TASK]
        low, high = row["interval"].replace(" to ", "–").split("–")
        shown = {"value": row["difference"], "low": low, "high": high}
        return {name: float(value) / 100 for name, value in shown.items()}

    def placement(self) -> Values:
        facts = shown_facts(visit("model", model=PUBLISHED))
        index, _, months, *_ = facts[facts.index("gsm8k") - 4 :]
        return {"index": float(index), "months": float(months.split()[-2])}

    def board_gaps(self) -> Values:
        return self._definitions(visit("frontier", axis=BOARD_NAME).dataframe[0].value)

    def fits(self) -> Values:
        table = handed_over("run_it", card=f"{CARD_GB} GB", judged_by=f"{TASK} (quick)")["fits-24gb.csv"]
        return dict(zip(table["model_id"], table["needs 4096"], strict=True))

    def benchmark(self) -> Values:
        ends = re.search(r"90% interval (\S+)–(\S+) months", said(visit("benchmarks", benchmark=BENCHMARK)))
        assert ends is not None
        best = handed_over("benchmarks", benchmark=BENCHMARK)["benchmark-scores.csv"].iloc[0]
        low, high = (float(end.replace("\\", "")) for end in ends.groups())
        return {"low": low, "high": high, best["model"]: best["score"]}

    def months_ago(self) -> Values:
        assert gap_histories.over_time(Question(), HEADLINE, wait_s=60.0) is not None
        rows = handed_over("frontier")["frontier-gap-over-time.csv"]
        return dict(zip(rows["as_of"], rows["value"], strict=True))

    def changes(self) -> Values:
        rows = handed_over("changes")["changes.csv"]
        return {title: tuple(of["change"]) for title, of in rows.groupby("title", sort=False)}

    def measured(self) -> Values:
        row = handed_over("frontier")["frontier-measured.csv"].iloc[0]
        return {row["model_id"]: row["index"], "low": row["ci_low"], "months": row["months_behind"]}

    def what_fits(self) -> Values:
        table = handed_over("run_it", card=f"{CARD_GB} GB", gpu=CARD)[f"what-fits-{CARD_GB}gb.csv"]
        return dict(zip(table["model_id"][:MOST], table["index"], strict=False))

    def best_that_fits(self) -> Values:
        name = f"best-that-fits-{CARD_GB}gb-{BITS}bits.csv"
        rows = handed_over("run_it", card=f"{CARD_GB} GB", bits=f"{BITS} bits")[name]
        return dict(zip(rows["model"], rows["value"], strict=True))

    def agents(self) -> Values:
        rows = handed_over("research")["research-board.csv"]
        return dict(zip(rows["agent"], rows["gain_bpb"], strict=True))

    @staticmethod
    def _definitions(table: Any) -> Values:
        shown = {row.id: row.behind.split()[0].replace("−", "-") for row in table.itertuples()}
        return {name: None if value == "–" else float(value) for name, value in shown.items()}


def benchmark_values(document: Values) -> Values:
    """The lag and the best score in the document of a benchmark."""
    lag, best = document["lag"], document["scores"][0]
    return {"low": lag["ci_low"], "high": lag["ci_high"], best["model"]: best["score"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = build_store(tmp_path_factory.mktemp("same"))
    measure_published(settings, hub_id=PUBLISHED_ID)
    board(settings)
    return settings


@pytest.fixture
def answers(store: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setenv("TRACKER_HOME", str(store.home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    st.cache_resource.clear()
    assert frontier_views.drawn(Question(), wait_s=240.0) is not None
    assert measured_models.measured(Question(), wait_s=240.0) is not None
    with open_snapshot(store) as snapshot:
        run = snapshot.query("model_runs", model_id=PUBLISHED_ID)[0]
    yield Answers(store, run["run_id"])
    st.cache_resource.clear()


@pytest.fixture
def faces(answers: Answers, capsys: pytest.CaptureFixture[str]) -> tuple[Any, ...]:
    client = TestClient(Starlette(routes=ROUTES))
    python = Python(tracker.open_home(answers.settings.home), answers.run_id)
    return CommandLine(capsys), python, Routes(client, answers.run_id), Pages()


@pytest.mark.parametrize("question", QUESTIONS)
def test_same_answers_of_every_face(answers: Answers, faces: tuple[Any, ...], question: str) -> None:
    expected = getattr(answers, question)()
    assert expected
    for face in faces:
        ask: Callable[[], Values] | None = getattr(face, question, None)
        if ask is None:
            continue  # this face has no place for the question
        assert _comparable(ask()) == _about(expected, face.digits), f"{type(face).__name__}: {question}"


@pytest.mark.clock
def test_same_answers_each_question_has_two_faces_or_more(faces: tuple[Any, ...]) -> None:
    for question in QUESTIONS:
        assert sum(hasattr(face, question) for face in faces) >= 2, question


def _comparable(values: Values) -> dict[str, Any]:
    return {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}


def _about(values: Values, digits: float) -> dict[str, Any]:
    plain = _comparable(values)
    return {
        name: pytest.approx(value, rel=1e-6, abs=digits if abs(value) > 1 else digits / 100)
        if isinstance(value, float)
        else value
        for name, value in plain.items()
    }
