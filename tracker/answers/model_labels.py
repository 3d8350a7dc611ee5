"""When a model came out and whether it is open, from every source that names it.

A rating board gives neither date nor label for most of its models; a list of providers or another board does,
under a spelling of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tracker.frontier.tables import Tables
from tracker.records.model_names import (
    THINKING,
    NameKey,
    accounts,
    bare_name,
    is_same_release,
    name_key,
    named_date,
    released_key,
    spellings,
    without_effort,
)
from tracker.records.published import Access

RESELLERS = "models-dev"  # lists each model once for every provider that serves it
PREFIXED = (RESELLERS, "openrouter")  # their names begin with a provider or a maker


@dataclass(frozen=True, slots=True)
class ModelLabel:
    """A model's label and the day it came out, as far as they are known."""

    access: Access = Access.UNKNOWN
    released: date | None = None

    @property
    def is_complete(self) -> bool:
        """Whether both are known."""
        return self.access is not Access.UNKNOWN and self.released is not None

    def or_else(self, other: ModelLabel) -> ModelLabel:
        """This label, with what it lacks taken from another."""
        access = other.access if self.access is Access.UNKNOWN else self.access
        return ModelLabel(access, self.released or other.released)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one source says of one name."""

    makers: frozenset[str]  # accounts of the maker, or of the provider that serves it
    label: ModelLabel


class ModelLabels:
    """Labels of models by name."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], tables: Tables | None = None) -> None:
        """`rows` of the read `model_labels`; the published `tables` count as one more source."""
        self._by_key: dict[NameKey, list[_Entry]] = defaultdict(list)
        self._by_variant: dict[NameKey, list[_Entry]] = defaultdict(list)  # named with an effort
        self._by_released_key: dict[NameKey, list[_Entry]] = defaultdict(list)
        self._by_maker: dict[str, Counter[Access]] = defaultdict(Counter)
        for row in rows:
            released = row["released_at"].date() if row["released_at"] is not None else None
            self._add(row["name"], maker_of(row), ModelLabel(Access(row["access"]), released))
        for facts in tables.models.values() if tables is not None else ():
            label = ModelLabel(Access(facts.access.value), facts.released)
            self._add(facts.model, facts.organization, label)
            if facts.hub_id is not None and bare_name(facts.hub_id) != facts.model:
                self._add(facts.hub_id, facts.organization, label)
        for small in tables.small_open_models if tables is not None else ():
            owner = (small.hub_id or "").partition("/")[0]
            self._add(small.hub_id or small.model, owner, ModelLabel(Access.OPEN, small.released))

    def _add(self, name: str, maker: str, label: ModelLabel) -> None:
        entry = _Entry(frozenset(accounts(maker)), label)
        bare = bare_name(name)
        self._by_key[name_key(bare)].append(entry)
        model = without_effort(bare)
        if model != bare and not THINKING.search(bare):
            self._by_variant[name_key(model)].append(entry)
        self._by_released_key[released_key(bare)].append(entry)
        if label.access is not Access.UNKNOWN:
            for account in entry.makers:
                self._by_maker[account][label.access] += 1

    def find(self, name: str, organization: str | None) -> ModelLabel:
        """What is known of the model of that name: the maker's own entries first, then anybody's.

        A date at the end of the name counts unless the same name without it came out at about that time.
        """
        makers = frozenset(accounts(organization or ""))
        bare = bare_name(name)
        written, undated = dict.fromkeys((bare, without_effort(bare))), [*spellings(name)][-1]
        found = ModelLabel()
        for spelling in written:
            found = found.or_else(self._of_key(spelling, makers))
        found = found.or_else(_settled(self._by_variant.get(name_key(without_effort(bare)), ()), makers))
        named, plain = named_date(without_effort(bare)), self._of_key(undated, makers)
        # a snapshot of weeks before is that of the release; one of months after is another version
        released = plain.released if is_same_release(named, plain.released) is not False else named
        found = found.or_else(replace(plain, released=released or named))
        if not found.is_complete and makers:
            entries = self._by_released_key.get(released_key(undated), ())
            found = found.or_else(_settled([each for each in entries if each.makers & makers], makers))
        return found

    def _of_key(self, spelling: str, makers: frozenset[str]) -> ModelLabel:
        return _settled(self._by_key.get(name_key(spelling), ()), makers)

    def is_closed_maker(self, organization: str | None) -> bool:
        """Whether everything labeled of that organization is closed."""
        known = sum((self._by_maker[one] for one in accounts(organization or "")), Counter[Access]())
        return known[Access.CLOSED] > 0 and known[Access.OPEN] == 0


def maker_of(row: Mapping[str, Any]) -> str:
    """The organization in a row of a source, or the provider in front of its name."""
    if row["source"] in PREFIXED:
        return str(row["name"]).partition("/")[0]
    return row["organization"] or ""


def _settled(entries: Iterable[_Entry], makers: frozenset[str]) -> ModelLabel:
    """What the maker's own entries say; where they say nothing, what most others do."""
    entries = list(entries)
    own = [entry.label for entry in entries if entry.makers & makers]
    every = [entry.label for entry in entries]
    return ModelLabel(_most_common_access(own), _first(own)).or_else(
        ModelLabel(_most_common_access(every), _first(every))
    )


def _most_common_access(labels: Sequence[ModelLabel]) -> Access:
    """The label of more than half of those that have one; else unknown."""
    counts = Counter(label.access for label in labels if label.access is not Access.UNKNOWN)
    return next((access for access, n in counts.items() if 2 * n > counts.total()), Access.UNKNOWN)


def _first(labels: Sequence[ModelLabel]) -> date | None:
    """The most common date; of equally common ones the earliest."""
    counts = Counter(label.released for label in labels if label.released is not None)
    return min(counts, key=lambda day: (-counts[day], day)) if counts else None
