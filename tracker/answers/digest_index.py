"""The part of a digest about the capability index: a new best model, and what the new data do to the gap.

The answers to the frontier's own question, on the newest data that were known at each end, are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from tracker.answers.digest_records import DigestChange, hub_address, value_text
from tracker.answers.frontier import FrontierAnswer, ModelPoint, answer_question
from tracker.answers.headlines import behind_words
from tracker.answers.vintages import ingested_vintages, shipped_days, tables_for
from tracker.errors import TrackerError
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.gap import Gap
from tracker.frontier.question import Question
from tracker.settings import Settings


def index_changes(settings: Settings, *, since: datetime, until: datetime) -> list[DigestChange]:
    """The new best models on the index and the change of the gap; nothing without new data.

    The first question about new data takes about half a minute; its answer is kept.
    """
    before, after = known_vintage(settings, since), known_vintage(settings, until)
    if before is None or after is None or before == after:
        return []
    try:
        old = answer_question(Question(vintage=before), settings)
        new = answer_question(Question(vintage=after), settings)
    except TrackerError as error:
        return [DigestChange(f"the index of {before} and that of {after} could not be compared: {error}")]
    models = tables_for(settings, Question(vintage=after), is_fitted=False).models
    hub_ids = {model: facts.hub_id for model, facts in models.items()}
    return compared(old, new, hub_ids)


def known_vintage(settings: Settings, moment: datetime) -> date | None:
    """The day of the newest published data that were known at that moment; None before the first.

    Shipped data count as known from their own day, ingested data from their ingest.
    """
    newest = max((day for day in shipped_days() if day <= moment.date()), default=None)
    ingested = [
        one.day
        for one in ingested_vintages(settings)
        if one.ingested_at <= moment and (newest is None or one.day >= newest)
    ]
    return ingested[-1] if ingested else newest


def compared(
    before: FrontierAnswer, after: FrontierAnswer, hub_ids: Mapping[str, str | None]
) -> list[DigestChange]:
    """One line per group that has a new best model, and one about the gap."""
    changes = []
    for access in ("closed", "open"):
        old, new = _best(before, access), _best(after, access)
        if new.model != old.model:
            text = f" is the best {access} model on the index with {_point(new)}, released {new.released}"
            changes.append(
                DigestChange(text + _previous(old, after), new.model, hub_address(hub_ids.get(new.model)))
            )
    return [*changes, _gap_change(before, after)]


def _best(answer: FrontierAnswer, access: str) -> ModelPoint:
    return answer.best_open if access == "open" else answer.best_closed


def _point(point: ModelPoint) -> str:
    if point.ci_low is None or point.ci_high is None:
        return f"{point.value:.1f}"
    return f"{point.value:.1f} ({point.ci_low:.1f} to {point.ci_high:.1f})"


def _previous(old: ModelPoint, after: FrontierAnswer) -> str:
    """The best before, with its value in the new data where it has one: refits move every value."""
    now = next((point for point in after.points if point.model == old.model), None)
    value = value_text(old.value if now is None else now.value, "index")
    return f"; previously `{old.model}`, {'then' if now is None else 'now'} {value}"


def _gap_change(before: FrontierAnswer, after: FrontierAnswer) -> DigestChange:
    now, then = after.gap(HEADLINE), before.gap(HEADLINE)
    return DigestChange(
        f"open models are {_behind(now)}, previously {_behind(then)} ({HEADLINE}; data of {after.vintage}, "
        f"previously {before.vintage})"
    )


def _behind(gap: Gap) -> str:
    """`5.6 months behind closed ones (5.1 to 6.3)`."""
    if gap.value is None:
        return "behind by an unknown time" + (f" ({gap.note})" if gap.note else "")
    text = behind_words(gap)
    if gap.ci_low is None or gap.ci_high is None:
        return text
    low, high = (gap.ci_low, gap.ci_high) if gap.value >= 0 else (-gap.ci_high, -gap.ci_low)
    return f"{text} ({low:.1f} to {high:.1f})"
