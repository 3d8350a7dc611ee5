"""Who measured each published score, under which terms, and the index without restricted scores."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tracker.answers.licenses import license_notes, terms_document
from tracker.errors import TrackerError
from tracker.frontier.facts import BoardLicense, PublishedScore, Redistribution, ReportedBy
from tracker.frontier.index import fit_index
from tracker.frontier.licenses import EPOCH, redistributable, slope_anchor, terms_of
from tracker.frontier.question import Question, axis, selection
from tracker.frontier.tables import Tables, load_licenses, load_tables

NEWEST = date(2026, 8, 11)
SELF_MADE = ("epoch_run", "own_report", "other_lab_report")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return load_tables()


def score(rule: str, benchmark: str = "GPQA diamond", source: str | None = "A source") -> PublishedScore:
    return PublishedScore(
        vintage=NEWEST,
        model="m",
        model_version=None,
        benchmark=benchmark,
        score=0.5,
        raw_score=None,
        reported_by=ReportedBy.UNKNOWN,
        reported_by_rule=rule,
        source=source,
        source_url=None,
        evaluated_on=None,
    )


def test_licenses_every_leaderboard_behind_a_score_has_a_row_and_no_other_has(tables: Tables) -> None:
    boards = {row.benchmark for row in tables.scores if row.reported_by_rule not in SELF_MADE}
    assert {row.benchmark for row in load_licenses()} == boards


@pytest.mark.parametrize(
    ("row", "measured_by", "license_", "redistribution"),
    [
        (score("epoch_run"), "Epoch AI", "CC BY 4.0", "allowed"),
        (score("epoch_run", "Aider polyglot"), "Epoch AI", "CC BY 4.0", "allowed"),
        (score("independent_board", "Aider polyglot"), "Aider LLM leaderboards", "Apache-2.0", "allowed"),
        (
            score("board_of_benchmark", "CritPt"),
            "Artificial Analysis, CritPt evaluation",
            "no right to redistribute",
            "not_allowed",
        ),
        (score("own_report"), "A source", "not stated", "not_stated"),
        (score("own_report", "Aider polyglot"), "A source", "not stated", "not_stated"),
        (score("other_lab_report", source=None), "papers and model cards", "not stated", "not_stated"),
        (score("not_classified", "New benchmark"), "A source", "not stated", "not_stated"),
        (score("not_classified", "CritPt"), "A source", "no right to redistribute", "not_allowed"),
        (score("not_classified", "Aider polyglot"), "A source", "not stated", "not_stated"),
        (
            score("not_classified", "Aider polyglot", source="Aider LLM Leaderboards"),
            "Aider LLM leaderboards",
            "Apache-2.0",
            "allowed",
        ),
        (score("not_classified", "New benchmark", source=None), "not stated", "not stated", "not_stated"),
        (score("a_rule_of_a_later_version", "WeirdML"), "WeirdML leaderboard", "not stated", "not_stated"),
    ],
)
def test_licenses_of_a_score_follow_from_who_measured_it(
    row: PublishedScore, measured_by: str, license_: str, redistribution: str
) -> None:
    found = terms_of(row)
    assert (found.measured_by, found.license, found.redistribution) == (measured_by, license_, redistribution)


def test_licenses_counts_of_the_newest_vintage_cover_every_score(tables: Tables) -> None:
    document = terms_document(tables)
    assert document["by_redistribution"] == {"allowed": 734, "not_allowed": 144, "not_stated": 1371}
    assert document["n_scores"] == sum(row["n_scores"] for row in document["terms"]) == 2249
    assert document["terms"][0]["measured_by"] == EPOCH.measured_by
    assert document["terms"][0]["n_scores"] == 691


@pytest.mark.parametrize("vintage", load_tables().vintages)
def test_licenses_an_index_from_redistributable_scores_uses_no_other(tables: Tables, vintage: date) -> None:
    data = selection(tables, Question(vintage=vintage, redistributable=True))
    allowed = {
        (row.model, row.benchmark)
        for row in tables.scores
        if row.vintage == vintage and terms_of(row).redistribution is Redistribution.ALLOWED
    }
    used = {
        (data.models[m], data.benchmarks[b]) for m, b in zip(data.model_of, data.benchmark_of, strict=True)
    }
    assert used <= allowed
    assert data.benchmarks[data.pinned] == "GPQA diamond"
    assert fit_index(data).index[data.models.index("GPT-5")] == pytest.approx(150.0)


def test_licenses_the_redistributable_index_has_the_figures_of_the_documentation(tables: Tables) -> None:
    fit = fit_index(selection(tables, Question(redistributable=True)))
    value = dict(zip(fit.data.models, fit.index, strict=True))
    assert len(value) == 93
    assert value["Kimi K3"] == pytest.approx(151.4, abs=0.05)
    assert value["GPT-5.6 Sol"] == pytest.approx(156.2, abs=0.05)
    notes = license_notes(tables, Question(redistributable=True))
    assert notes == [
        "only the 734 of 2,249 scores whose license allows redistribution",
        "none of them is on Winogrande, so the slope of GPQA diamond fixes the index",
    ]
    assert "1,515 of 2,249 scores" in license_notes(tables, Question())[0]


def test_licenses_a_restricted_benchmark_is_no_axis_of_redistributable_scores(tables: Tables) -> None:
    assert axis(tables, Question(benchmark="CritPt"), None).models
    with pytest.raises(TrackerError, match="CritPt"):
        axis(tables, Question(benchmark="CritPt", redistributable=True), None)
    assert axis(tables, Question(benchmark="GPQA diamond", redistributable=True), None).models


def test_licenses_a_vintage_without_redistributable_scores_is_one_sentence(tables: Tables) -> None:
    rows = tuple(row for row in tables.scores if row.benchmark == "CritPt")
    with pytest.raises(TrackerError, match="no score whose license allows redistribution"):
        redistributable(replace(tables, scores=rows), NEWEST)


def test_licenses_the_usual_slope_stays_fixed_where_it_has_scores(tables: Tables) -> None:
    rows = tuple(
        replace(row, reported_by_rule="epoch_run") if row.benchmark == "Winogrande" else row
        for row in tables.scores
    )
    assert slope_anchor(redistributable(tables, NEWEST)) == "GPQA diamond"
    assert slope_anchor(redistributable(replace(tables, scores=rows), NEWEST)) == "Winogrande"


def test_licenses_a_row_without_a_license_is_refused() -> None:
    with pytest.raises(ValueError, match="license must be a name"):
        BoardLicense("b", "board", None, "", Redistribution.NOT_STATED, None)
