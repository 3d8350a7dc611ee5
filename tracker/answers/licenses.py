"""Who measured the published scores and under which terms, for every face."""

from __future__ import annotations

from datetime import date
from typing import Any

from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import Redistribution
from tracker.frontier.licenses import TermsCount, count_terms, redistributable, slope_anchor
from tracker.frontier.question import Question
from tracker.frontier.tables import ATTRIBUTION, Tables


def score_terms(tables: Tables, vintage: date | None = None) -> tuple[TermsCount, ...]:
    """The terms of the scores of a vintage (None: the newest), the most frequent first.

    Raises:
        TrackerError: there is no such vintage.
    """
    return count_terms(tables, newest_vintage(tables, vintage))


def terms_document(tables: Tables, vintage: date | None = None) -> dict[str, Any]:
    """The terms as plain JSON values, with the number of scores by whether they may be redistributed."""
    day = newest_vintage(tables, vintage)
    found = score_terms(tables, day)
    return {
        "vintage": day.isoformat(),
        "n_scores": sum(row.n_scores for row in found),
        "by_redistribution": {each.value: _n_scores(found, each) for each in Redistribution},
        "terms": [
            {
                "measured_by": row.terms.measured_by,
                "license": row.terms.license,
                "redistribution": row.terms.redistribution.value,
                "url": row.terms.url,
                "basis": row.terms.basis,
                "n_scores": row.n_scores,
                "benchmarks": list(row.benchmarks),
            }
            for row in found
        ],
        "attribution": list(ATTRIBUTION),
    }


def license_notes(tables: Tables, question: Question) -> list[str]:
    """The share of the scores whose terms allow redistribution, and whether the others are left out."""
    day = newest_vintage(tables, question.vintage)
    found = count_terms(tables, day)
    n, n_allowed = sum(row.n_scores for row in found), _n_scores(found, Redistribution.ALLOWED)
    if not question.redistributable:
        return [
            f"{n - n_allowed:,} of {n:,} scores keep the terms of their leaderboard, paper or model card; "
            "`--redistributable` leaves them out, `tracker frontier licenses` lists them"
        ]
    notes = [f"only the {n_allowed:,} of {n:,} scores whose license allows redistribution"]
    usual, anchor = slope_anchor(tables), slope_anchor(redistributable(tables, day))
    if anchor != usual:
        notes.append(f"none of them is on {usual}, so the slope of {anchor} fixes the index")
    return notes


def _n_scores(found: tuple[TermsCount, ...], redistribution: Redistribution) -> int:
    return sum(row.n_scores for row in found if row.terms.redistribution is redistribution)
