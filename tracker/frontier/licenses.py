"""Who measured each published score, under which terms, and the scores whose terms allow passing them on.

Epoch AI's own evaluations and its fitted files are CC BY 4.0; a score that it collected from a leaderboard, a
paper or a model card keeps the terms of that origin. Terms that were not found are "not stated", and count as
no permission. This compares texts and is no legal advice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

from tracker.errors import TrackerError
from tracker.frontier.dataset import pruned
from tracker.frontier.facts import BenchmarkFacts, BoardLicense, PublishedScore, Redistribution
from tracker.frontier.tables import Tables, load_licenses

EPOCH_RUN = "epoch_run"  # value of `reported_by_rule`
REPORTS = ("own_report", "other_lab_report")  # papers and model cards
UNCLASSIFIED = (
    "not_classified"  # of an ingested score, which may not be from the leaderboard of its benchmark
)
HOST = re.compile(r"https?://(?:www\.)?([^./]+)")  # `aider` of https://aider.chat
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Terms:
    """Who measured a score, and the terms of the number."""

    measured_by: str
    license: str
    redistribution: Redistribution
    url: str | None = None
    basis: str | None = None


@dataclass(frozen=True, slots=True)
class TermsCount:
    """The scores of a vintage with the same terms."""

    terms: Terms
    n_scores: int
    benchmarks: tuple[str, ...]


EPOCH = Terms(
    "Epoch AI", "CC BY 4.0", Redistribution.ALLOWED, "https://epoch.ai/benchmarks", "terms of use of its data"
)
REPORT = Terms("papers and model cards", NOT_STATED, Redistribution.NOT_STATED, basis="one per source")

OTHER = Terms("leaderboards, papers and model cards", NOT_STATED, Redistribution.NOT_STATED)


def terms_of(row: PublishedScore) -> Terms:
    """Who measured a score, and its terms."""
    if row.reported_by_rule == EPOCH_RUN:
        return EPOCH
    if row.reported_by_rule in REPORTS:
        return replace(REPORT, measured_by=row.source or REPORT.measured_by, url=row.source_url, basis=None)
    return _board_terms(row)


def count_terms(tables: Tables, vintage: date) -> tuple[TermsCount, ...]:
    """The terms of the scores of a vintage, the most frequent first.

    Papers and model cards are one entry, and so are ingested scores of unclassified origin without a license.
    """
    counts: Counter[Terms] = Counter()
    benchmarks: dict[Terms, set[str]] = {}
    for row in tables.scores:
        if row.vintage == vintage:
            terms = _shared_terms(row)
            counts[terms] += 1
            benchmarks.setdefault(terms, set()).add(row.benchmark)
    return tuple(
        TermsCount(terms, n, tuple(sorted(benchmarks[terms], key=str.casefold)))
        for terms, n in counts.most_common()
    )


def _shared_terms(row: PublishedScore) -> Terms:
    if row.reported_by_rule in REPORTS:
        return REPORT
    terms = terms_of(row)
    is_unclear = row.reported_by_rule == UNCLASSIFIED and terms.redistribution is Redistribution.NOT_STATED
    return OTHER if is_unclear else terms


def redistributable(tables: Tables, vintage: date) -> Tables:
    """The tables with only those scores of the vintage whose terms allow redistribution.

    The slope of the index is fixed on the benchmark with most of them if the usual one has none.

    Raises:
        TrackerError: the vintage has no such score.
    """
    rows = tuple(row for row in tables.scores if row.vintage == vintage and _is_allowed(row))
    if not rows:
        raise TrackerError(
            f"vintage {vintage} has no score whose license allows redistribution",
            hint="`tracker frontier licenses` lists the terms",
        )
    return replace(
        tables,
        scores=rows,
        benchmarks=_with_anchor(tables, rows),
        digest=f"{tables.digest}-redistributable-{vintage}",
    )


def slope_anchor(tables: Tables) -> str | None:
    """The benchmark whose slope fixes the scale."""
    return next((row.benchmark for row in tables.benchmarks.values() if row.slope_anchor), None)


def _is_allowed(row: PublishedScore) -> bool:
    return terms_of(row).redistribution is Redistribution.ALLOWED


def _with_anchor(tables: Tables, rows: Iterable[PublishedScore]) -> dict[str, BenchmarkFacts]:
    kept, _ = pruned(list(rows))
    counts = Counter(row.benchmark for row in kept)
    anchor = slope_anchor(tables)
    if not counts or anchor in counts:
        return tables.benchmarks
    chosen = min(counts, key=lambda name: (-counts[name], name))
    return {name: replace(facts, slope_anchor=name == chosen) for name, facts in tables.benchmarks.items()}


def _board_terms(row: PublishedScore) -> Terms:
    board = _boards().get(row.benchmark)
    if board is None:
        return Terms(row.source or NOT_STATED, NOT_STATED, Redistribution.NOT_STATED, row.source_url)
    found = Terms(board.board, board.license, board.redistribution, board.url, board.basis)
    if row.reported_by_rule != UNCLASSIFIED or _names(row.source, board):
        return found
    if found.redistribution is Redistribution.ALLOWED:  # the permission is that of the leaderboard alone
        found = replace(found, license=NOT_STATED, redistribution=Redistribution.NOT_STATED, basis=None)
    return replace(found, measured_by=row.source or NOT_STATED, url=row.source_url)


def _names(source: str | None, board: BoardLicense) -> bool:
    """Whether the source of a score is that leaderboard, by the name of its host."""
    host = HOST.match(board.url or "")
    return source is not None and host is not None and host.group(1).casefold() in source.casefold()


@cache
def _boards() -> dict[str, BoardLicense]:
    return {row.benchmark: row for row in load_licenses()}
