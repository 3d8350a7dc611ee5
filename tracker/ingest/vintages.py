"""Keep each new state of a published index as a vintage, and refit it once.

The contents are stored before the refit: a process killed meanwhile leaves a complete vintage, which answers
by its published values until the next ingest refits it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tracker.errors import TrackerError
from tracker.logs import get_logger
from tracker.records.published import Access
from tracker.records.vintages import Vintage, VintageData
from tracker.settings import Settings
from tracker.sources.ingest_log import Refitted
from tracker.store import Store, confirmed, read_vintage_data, read_vintages

LARGEST_LOSS = 0.2  # of the models or scores of the last vintage; more is not believed at once
MOST_LOST = 30  # models or scores of one benchmark, where a fifth would be more
FEW = 5  # a loss of fewer rows is never doubted

Refit = Callable[[Vintage, Settings], Refitted]


@dataclass(frozen=True, slots=True)
class Shortcoming:
    """What is wrong with an index that was stored, in a sentence."""

    text: str
    is_used: bool  # whether answers rest on it all the same


@dataclass(frozen=True, slots=True)
class VintageOrigin:
    """The ingest that an index comes from."""

    source: str
    ingest_id: str
    at: datetime
    is_accepted: bool = False  # whether a person said that it is right


def keep_vintage(
    data: VintageData, settings: Settings, origin: VintageOrigin, *, refitted: Refit
) -> Shortcoming | None:
    """Store the index of an ingest unless it is the newest one already, and say how it falls short, if so.

    An index that lacks much of the last one is stored but not used, until a later day's ingest finds the same
    or the ingest was told to accept it; it then counts from that day. `refitted` fits a new one.
    """
    at, source = origin.at, origin.source
    with Store.open(settings) as store:
        known = [one for one in read_vintages(store) if one.source == source]
        same = _known_state(known, data)
        if same is not None:
            is_believed = origin.is_accepted or at.date() > same.ingested_at.date()
            same = confirmed(same, at)
            if is_believed and not same.is_accepted:
                same = replace(same, is_accepted=True, reason=None, ingested_at=at)
            store.put_vintage(same)
        elif data.models:
            accepted = [one for one in known if one.is_accepted]
            old = read_vintage_data(store, accepted[-1])[0] if accepted else None
            loss = what_is_lost(old, data) if old is not None else what_is_unusable(data)
            is_right = origin.is_accepted or loss is None
            same = _vintage(data, source=source, vintage_id=origin.ingest_id, at=at)
            same = replace(same, is_accepted=is_right, reason=None if is_right else loss)
            store.put_vintage(same, data)
    if same is None:
        return None
    if not same.is_accepted:
        return Shortcoming(f"the index is not used yet: {same.reason}", is_used=False)
    if same.refit_mean_error is None:
        same = _with_refit(same, refitted(same, settings))
        with Store.open(settings) as store:
            store.put_vintage(same)
    return (
        Shortcoming(f"the index is used as published: {same.reason}", is_used=True) if same.reason else None
    )


def _known_state(known: Sequence[Vintage], data: VintageData) -> Vintage | None:
    """The stored state that an ingest of the same content confirms: the one in use, or a doubted one since.

    What the source said before that and took back is no confirmation of it: it becomes a vintage again.
    """
    used = next((one for one in reversed(known) if one.is_accepted), None)
    if used is not None and used.digest == data.digest:
        return used
    last = known[-1] if known else None
    is_since = last is not None and (used is None or last.ingested_at >= used.confirmed_at)
    return last if last is not None and is_since and last.digest == data.digest else None


def what_is_unusable(data: VintageData) -> str | None:
    """Why the first index of a home cannot answer anything; None if it can."""
    for label in (Access.OPEN, Access.CLOSED):
        if not any(row.access is label and row.index is not None for row in data.models):
            return f"no {label.value} model in it has a published value"
    return None


def what_is_lost(old: VintageData, new: VintageData) -> str | None:
    """Why `new` looks like a damaged copy of `old`; None if it does not."""
    lost = {row.model for row in old.models} - {row.model for row in new.models}
    if _is_much(len(lost), len(old.models)):
        return f"{len(lost)} of {len(old.models)} models are missing from the index, such as `{min(lost)}`"
    for label in (Access.OPEN, Access.CLOSED):
        best = _best(old, label)
        if best in lost:
            return f"the best {label.value} model, `{best}`, is missing from the index"
    for what, before, after in (
        ("labels open or closed", _labelled(old), _labelled(new)),
        ("published values", _valued(old), _valued(new)),
    ):
        if _is_much(before - after, before):
            return f"the index has {after} {what} where it had {before}"
    before_by, after_by = (Counter(row.benchmark for row in data.scores) for data in (old, new))
    for benchmark, n in before_by.most_common():
        if _is_much(n - after_by[benchmark], n):
            return f"{n - after_by[benchmark]} of {n} scores on {benchmark} are missing from the index"
    return None


def _best(data: VintageData, label: Access) -> str | None:
    valued = [row for row in data.models if row.access is label and row.index is not None]
    return max(valued, key=lambda row: row.index or 0.0).model if valued else None


def _is_much(lost: int, of: int) -> bool:
    return lost >= FEW and (lost > LARGEST_LOSS * of or lost > MOST_LOST)


def _labelled(data: VintageData) -> int:
    return sum(row.access is not Access.UNKNOWN for row in data.models)


def _valued(data: VintageData) -> int:
    return sum(row.index is not None for row in data.models)


def _vintage(data: VintageData, *, source: str, vintage_id: str, at: datetime) -> Vintage:
    return Vintage(
        vintage_id=vintage_id,
        source=source,
        day=data.day,
        ingested_at=at,
        confirmed_at=at,
        digest=data.digest,
        n_models=len(data.models),
        n_scores=len(data.scores),
        n_benchmarks=len({row.benchmark for row in data.scores}),
        is_accepted=True,
    )


def refit(vintage: Vintage, settings: Settings) -> Refitted:
    """Fit the index, keep its draws in the home, and return its distance to the published values.

    Without scores behind it, an index is used as published, and nothing falls short.
    """
    from tracker.answers.vintages import refit_errors, tables_of

    try:
        tables = tables_of(vintage, settings)
        errors: Sequence[float] | None = refit_errors(tables, settings.frontier_path)
        reason = None
    except TrackerError as error:
        errors, reason = None, f"not refitted: {error}" if vintage.n_scores else None
        get_logger("ingest").warning("the index was not refitted", reason=str(error))
    return Refitted(
        vintage_id=vintage.vintage_id,
        is_refitted=errors is not None,
        reason=reason,
        n=len(errors) if errors is not None else None,
        mean_error=sum(errors) / len(errors) if errors else None,
        max_error=max(errors) if errors else None,
    )


def _with_refit(vintage: Vintage, result: Refitted) -> Vintage:
    return replace(
        vintage,
        reason=result.reason,
        is_refitted=result.is_refitted,
        refit_n=result.n,
        refit_mean_error=result.mean_error,
        refit_max_error=result.max_error,
    )
