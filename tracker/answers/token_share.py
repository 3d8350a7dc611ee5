"""The share of open-weight models in the tokens that OpenRouter routes, day by day.

The export names the 50 most used models of a day and sums up the rest. Whether one is open says OpenRouter's
own list, by its link to the weights, or models.dev; a model that neither labels counts as `unlabeled`. So the
share of open models is at least `open`, and at most `open + unlabeled + other`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from statistics import fmean
from typing import Any

from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot

SERIES = "OpenRouter tokens"
OTHER = "other"  # the models below rank 50, in one row
WEEK = 7  # days; a day's share depends on the day of the week
TOP = 15  # models that are named
ATTRIBUTION = "Source: OpenRouter (openrouter.ai/rankings), as of {day}, CC BY 4.0; labels added"
FETCH = "`tracker ingest openrouter-usage openrouter models-dev` fetches it"
LABELS = "`tracker ingest openrouter models-dev` fetches labels"
DATED = re.compile(r"-\d{8}$")  # the end of a slug: day of a release


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of tokens, fractions of one; they add up to one."""

    open: float
    closed: float
    unlabeled: float
    other: float

    @property
    def open_high(self) -> float:
        """The share of open models if every model without a label were open."""
        return min(1.0, self.open + self.unlabeled + self.other)


@dataclass(frozen=True, slots=True)
class ModelShare:
    """A model's mean share in the last week of the data."""

    name: str
    access: str  # "open", "closed" or "unlabeled"
    share: float


@dataclass(frozen=True, slots=True)
class TokenShare:
    """The answer: shares by day, and their means over weeks that end on the weekday of the last day."""

    days: Mapping[date, Shares]
    weeks: Mapping[date, Shares]  # by the last day of the week, oldest first
    last_week: Shares
    before: Shares | None  # null: the data are not old enough
    models: tuple[ModelShare, ...]  # of the last week, the most used first
    age_days: int

    @property
    def as_of(self) -> date:
        """The last day of the data."""
        return max(self.days)


def token_share(settings: Settings) -> TokenShare:
    """The shares of open and closed models in the tokens that OpenRouter routed.

    Raises:
        TrackerError: they have not been ingested.
    """
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("dated_values", series=SERIES)
        labels = Labels(snapshot.query("access_labels"))
    if not rows:
        raise TrackerError("no shares of tokens have been ingested yet", hint=FETCH)
    by_day: dict[date, dict[str, float]] = defaultdict(dict)
    for row in rows:
        by_day[row["day"]][row["name"]] = row["value"]
    access = {name: labels.access(name) for name in {row["name"] for row in rows}}
    days = {on: _shares(models, access) for on, models in sorted(by_day.items())}
    last = max(days)
    ends = [last - timedelta(days=WEEK * n) for n in range((last - min(days)).days // WEEK + 1)]
    weeks = {end: week for end in reversed(ends) if (week := _week(days, end)) is not None}
    return TokenShare(
        days=days,
        weeks=weeks,
        last_week=weeks[last],
        before=_week(days, last - timedelta(days=4 * WEEK)),
        models=tuple(_top(by_day, access, last)),
        age_days=(settings.now().date() - last).days,
    )


def token_share_document(answer: TokenShare) -> dict[str, Any]:
    """The answer as JSON values."""
    unlabeled = [model.name for model in answer.models if model.access == "unlabeled"]
    notes = []
    if unlabeled:
        names = ", ".join(unlabeled[:3]) + (f" and {len(unlabeled) - 3} more" if len(unlabeled) > 3 else "")
        notes.append(f"not labeled open or closed: {names}; {LABELS}")
    return {
        "as_of": answer.as_of.isoformat(),
        "age_days": answer.age_days,
        "last_week": _document(answer.last_week),
        "four_weeks_before": None if answer.before is None else _document(answer.before),
        "weeks": [{"week_to": on.isoformat()} | _document(shares) for on, shares in answer.weeks.items()],
        "days": [{"day": on.isoformat()} | _document(shares) for on, shares in answer.days.items()],
        "models": [asdict(model) for model in answer.models],
        "notes": notes,
        "attribution": [ATTRIBUTION.format(day=answer.as_of)],
    }


class Labels:
    """Open or closed by name: a slug of the export and a name in a list may order their words differently."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._by_words: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self._by_model: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for row in rows:
            name = row["name"]
            if row["source"] == "models-dev":
                provider, _, name = name.partition("/")
                self._by_model[_words(name.rpartition("/")[2])].add(row["access"])
                if provider != "openrouter":
                    continue
            self._by_words[_words(name)].add(row["access"])

    def access(self, slug: str) -> str:
        """`open`, `closed`, or `unlabeled`: unknown, or labeled differently by different providers."""
        plain = slug.partition(":")[0]
        names = (plain, DATED.sub("", plain))
        for name in names:
            found = self._by_words.get(_words(name), set())
            if "open" in found:  # OpenRouter links its weights
                return "open"
            if found:
                return "closed"
        for name in names:
            found = self._by_model.get(_words(name.rpartition("/")[2]), set())
            if len(found) == 1:
                return next(iter(found))
        return "unlabeled"


def _words(name: str) -> tuple[str, ...]:
    """The parts of a name in alphabetical order, without the variant: claude-4.7-opus is claude-opus-4.7."""
    return tuple(sorted(part for part in re.split(r"[-._/ ]", name.casefold().partition(":")[0]) if part))


def _shares(models: Mapping[str, float], access: Mapping[str, str]) -> Shares:
    total = sum(models.values())
    sums = dict.fromkeys(("open", "closed", "unlabeled", "other"), 0.0)
    for name, share in models.items():
        sums["other" if name == OTHER else access[name]] += share / total
    return Shares(**sums)


def _week(days: Mapping[date, Shares], last: date) -> Shares | None:
    """The mean over the week that ends on that day; None if the week is not complete."""
    dates = [last - timedelta(days=n) for n in range(WEEK)]
    found = [days[on] for on in dates if on in days]
    if not found or (len(found) < WEEK and last != max(days)):
        return None
    return Shares(*(fmean(getattr(one, name) for one in found) for name in Shares.__slots__))


def _top(
    by_day: Mapping[date, Mapping[str, float]], access: Mapping[str, str], last: date
) -> Sequence[ModelShare]:
    week = [by_day[on] for n in range(WEEK) if (on := last - timedelta(days=n)) in by_day]
    names = {name for models in week for name in models} - {OTHER}
    means = {name: sum(models.get(name, 0.0) for models in week) / len(week) for name in names}
    ranked = sorted(names, key=lambda name: (-means[name], name))
    return [ModelShare(name, access[name], means[name]) for name in ranked[:TOP]]


def _document(shares: Shares) -> dict[str, float]:
    return {**asdict(shares), "open_high": shares.open_high}
