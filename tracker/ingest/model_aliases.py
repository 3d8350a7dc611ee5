"""Match models' names in sources to Hub repositories.

Only certain matches become aliases: those made by a person, those stated by the source, the same id, and a
name that equals exactly one repository of the organization and came out when it did. Others are listed for a
person, never guessed. A match that these rules no longer make is withdrawn.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from tracker.answers.model_labels import PREFIXED, RESELLERS, ModelLabels, maker_of
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.tables import Tables, load_tables
from tracker.records.model_names import (
    MAKERS,
    THINKING,
    NameKey,
    accounts,
    bare_name,
    is_same_release,
    model_key,
    name_key,
    without_effort,
)
from tracker.records.published import Access, ModelKind
from tracker.settings import Settings
from tracker.sources import SOURCES
from tracker.store import Alias, Store, open_snapshot, publish
from tracker.store.decisions import log_aliases

CHAT_WORDS = ("it", "chat", "instruct", "sft")  # in a repository's name, beside a base model without one
CHAT_BOARDS = ("artificial-analysis", "lmarena", *PREFIXED)  # list no base models
COMPUTED = ("same_id", "organization_and_name", "name_and_date", "published_table")  # bases of our own
N_CANDIDATES = 3
COMMON = 1000  # repositories: a string shared by more, such as `inst`, identifies nothing
COMPARED = 100
LIKENESS = 0.6  # difflib ratio of two folded names; candidates below it do not help


@dataclass(frozen=True, slots=True)
class Name:
    """A model's name in a source."""

    source: str
    name: str
    organization: str | None
    hub_id: str | None  # as stated by the source
    access: str
    released: date | None = None
    is_index_only: bool = False  # nothing but index values: in Epoch's data, the name of a group
    has_variants: bool = False  # the source lists the same model with other efforts too


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub."""

    model_id: str
    kind: ModelKind = ModelKind.UNKNOWN
    created: date | None = None

    @property
    def owner(self) -> str:
        """Its account, casefolded."""
        return self.model_id.partition("/")[0].casefold()


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A model that may be on the Hub, under all its names without a repository."""

    source: str  # of the name that stands for it
    name: str
    organization: str | None
    access: str
    model: str  # the name without provider and effort
    n_benchmarks: int  # with a score under one of its names, counted per name
    names: tuple[tuple[str, str], ...]  # source and name
    candidates: tuple[str, ...] = ()  # repositories, the likeliest first


class HubNames:
    """Index of known repositories by their name without case and punctuation."""

    def __init__(self, repositories: Iterable[Repository], parents: Iterable[str] = ()) -> None:
        """`parents`: ids that repositories name as their base; they exist, listed here or not."""
        self.by_key = {one.model_id.casefold(): one for one in repositories}
        self.by_fold: dict[str, list[str]] = defaultdict(list)
        self.by_owner: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[NameKey, list[Repository]] = defaultdict(list)
        for one in self.by_key.values():
            name = one.model_id.partition("/")[2]
            self.by_fold[fold(name)].append(one.model_id)
            self.by_owner[one.owner].append(one.model_id)
            self._by_name[name_key(name)].append(one)
        self._unlisted = {
            (owner.casefold(), name_key(name))
            for owner, slash, name in (parent.partition("/") for parent in parents)
            if slash and f"{owner}/{name}".casefold() not in self.by_key
        }
        self._by_gram: dict[str, list[str]] = {}

    def named(self, name: str, owners: Iterable[str], *, word: str | None = None) -> list[Repository]:
        """The repositories of these owners with that name, or with that name and one more word."""
        numbers, words = name_key(name)
        key = (numbers, words if word is None else tuple(sorted((*words, word))))
        allowed = set(owners)
        return [one for one in self._by_name.get(key, ()) if one.owner in allowed]

    def is_unlisted(self, name: str, owners: Iterable[str]) -> bool:
        """Whether one of the owners has a repository of that name, of which nothing else is known."""
        key = name_key(name)
        return any((owner, key) in self._unlisted for owner in owners)

    def like(self, folded: str) -> list[str]:
        """Repositories that share most with that folded name; comparing it with all takes too long."""
        if not self._by_gram:
            for name, model_ids in self.by_fold.items():
                for gram in grams(name):
                    self._by_gram.setdefault(gram, []).extend(model_ids)
        shared: Counter[str] = Counter()
        for gram in grams(folded):
            found = self._by_gram.get(gram, ())
            if len(found) <= COMMON:
                shared.update(found)
        return [model_id for model_id, _ in shared.most_common(COMPARED)]


def grams(folded: str) -> set[str]:
    """All 4-grams of a folded name; the whole name if it is shorter."""
    return {folded[at : at + 4] for at in range(max(len(folded) - 3, 1))}


def fold(name: str) -> str:
    """Lowercase the name and remove punctuation; a dot between digits stays, since 2.5 is not 25."""
    kept = re.sub(r"[^a-z0-9.]", "", name.casefold())
    return re.sub(r"(?<!\d)\.|\.(?!\d)", "", kept)


def match(name: Name, hub: HubNames, table: Mapping[str, str]) -> Alias | None:
    """The repository that this name certainly refers to; None if uncertain."""

    def alias(model_id: str, basis: str) -> Alias:
        return Alias(name.source, name.name, model_id, basis)

    if name.hub_id:
        listed = hub.by_key.get(name.hub_id.casefold())
        return alias(listed.model_id if listed else name.hub_id, "stated")
    # `chutes/zai-org/GLM-5` and `synthetic/hf:zai-org/GLM-5` end in an id
    tail = "/".join(name.name.split("/")[-2:]).removeprefix("hf:")
    if same := hub.by_key.get(name.name.casefold()) or hub.by_key.get(tail.casefold()):
        return alias(same.model_id, "same_id")
    if name.source == "epoch" and name.is_index_only and name.name in table:
        return alias(table[name.name], "published_table")
    owners = _owners(name)
    if found := _of_owners(name, hub, owners):
        return alias(found.model_id, "organization_and_name")
    if name.source == RESELLERS and not MAKERS & set(owners):
        found = _of_owners(name, hub, MAKERS)
        if found and is_same_release(name.released, found.created):
            return alias(found.model_id, "name_and_date")
    return None


def _of_owners(name: Name, hub: HubNames, owners: Iterable[str]) -> Repository | None:
    """The only repository of these owners that the name fits and whose day does not speak against it."""
    bare = bare_name(name.name)
    spellings = () if name.access == Access.CLOSED else (bare, without_effort(bare))
    for spelling in dict.fromkeys(spellings):
        found = _meant(spelling, name.source, hub, owners)
        if len(found) > 1 or (not found and hub.is_unlisted(spelling, owners)):
            return None
        if not found:
            continue
        agrees = is_same_release(name.released, found[0].created)
        is_sure = spelling == bare or not THINKING.search(bare) or name.has_variants
        return found[0] if agrees or (agrees is None and is_sure) else None
    return None


def _meant(spelling: str, source: str, hub: HubNames, owners: Iterable[str]) -> list[Repository]:
    """The repositories that the name may mean: none, one, or several between which nothing decides.

    `gemma-4-31b` on a board is the chat model, but on the Hub it is the base model's name.
    """
    same = hub.named(spelling, owners)
    chat = [one for word in CHAT_WORDS for one in hub.named(spelling, owners, word=word)]
    if source not in CHAT_BOARDS:
        return [*same, *chat] if same else []
    not_chat = (ModelKind.BASE, ModelKind.UNKNOWN) if chat else (ModelKind.BASE,)
    return [*chat, *(one for one in same if one.kind not in not_chat)]


def candidates(name: Name, hub: HubNames) -> tuple[str, ...]:
    """Similar repositories, the most similar first."""
    own = fold(without_effort(bare_name(name.name)))
    pool = [model_id for owner in _owners(name) for model_id in hub.by_owner.get(owner, ())]
    folded = {fold(model_id.partition("/")[2]): model_id for model_id in pool or hub.like(own)}
    near = difflib.get_close_matches(own, folded, n=N_CANDIDATES, cutoff=LIKENESS)
    return tuple(folded[key] for key in near)


def resolve_names(settings: Settings, *, at: datetime | None = None) -> int:
    """Match names to repositories and return how many are new; never changes aliases made by a person.

    An earlier match to a repository that is still known is withdrawn if it is no longer certain. `at`: when
    the matches are made; default: now.
    """
    table = {row.model: row.hub_id for row in _tables().models.values() if row.hub_id}
    with Store.open(settings) as store:
        rows = store.query("source_names")
        hub = _hub_names(store.query("known_models"))
        variants = _variants(rows)
        found, withdrawn = [], []
        for row in rows:
            if row["model_id"] is not None and row["basis"] not in COMPUTED:
                continue
            alias = match(_name(row, variants), hub, table)
            if alias is not None and (alias.model_id, alias.basis) != (row["model_id"], row["basis"]):
                found.append(alias)
            elif alias is None and row["model_id"] and row["model_id"].casefold() in hub.by_key:
                withdrawn.append((row["source"], row["name"]))
        if found:
            store.add_aliases(found, at=at)
        if withdrawn:
            store.remove_aliases(withdrawn)
    return len(found)


def unmatched(settings: Settings, *, n: int | None = None) -> list[Unmatched]:
    """The models without a repository that a person can match, the most widely scored first.

    One entry for all names of a model. Left out: closed models, models of makers that publish no weights, and
    names that only resellers list. Candidates are computed for the first `n`.
    """
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("source_names")
        hub = _hub_names(snapshot.query("known_models"))
        labels = ModelLabels(snapshot.query("model_labels"), _tables())
    by_model: dict[NameKey, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_model[model_key(row["name"])].append(row)
    open_ = [found for named in by_model.values() if (found := _unmatched(named, labels)) is not None]
    open_.sort(key=lambda one: (-one.n_benchmarks, one.model.casefold()))
    return [
        replace(one, candidates=_likely(one, by_model[model_key(one.name)], hub))
        if n is None or place < n
        else one
        for place, one in enumerate(open_)
    ]


def _unmatched(named: list[dict[str, Any]], labels: ModelLabels) -> Unmatched | None:
    """The entry for all names of one model; None if there is nothing for a person to decide."""
    lacking = [row for row in named if row["model_id"] is None and row["hub_id"] is None]
    if not any(row["source"] != RESELLERS or row["n_benchmarks"] for row in lacking):
        return None
    first = min(lacking, key=lambda row: (row["source"] == RESELLERS, -row["n_benchmarks"], len(row["name"])))
    organization = next((maker for row in (first, *lacking) if (maker := maker_of(row))), None)
    said = {row["access"] for row in named} - {Access.UNKNOWN.value}
    label = Access(said.pop()) if len(said) == 1 else labels.find(first["name"], organization).access
    if label is Access.CLOSED or (label is Access.UNKNOWN and labels.is_closed_maker(organization)):
        return None
    return Unmatched(
        source=first["source"],
        name=first["name"],
        organization=organization,
        access=label.value,
        model=without_effort(bare_name(first["name"])),
        n_benchmarks=sum(row["n_benchmarks"] for row in lacking),
        names=tuple((row["source"], row["name"]) for row in lacking),
    )


def _likely(one: Unmatched, named: list[dict[str, Any]], hub: HubNames) -> tuple[str, ...]:
    """The repositories that other names of the model are matched to, then similar ones."""
    others = (row["model_id"] for row in named if row["model_id"])
    name = Name(one.source, one.name, one.organization, None, one.access)
    return tuple(dict.fromkeys((*others, *candidates(name, hub))))[:N_CANDIDATES]


def add_match(settings: Settings, pair: str) -> tuple[Alias, ...]:
    """Store a person's match: `SOURCE:NAME=org/name`, or `NAME=org/name` for each unmatched name of a model.

    Raises:
        TrackerError: `pair` has neither form.
        UnknownNameError: there is no such source, neither registered nor ingested before, or no such name.
    """
    left, _, model_id = pair.rpartition("=")
    source, colon, name = left.partition(":")
    if not (source and (name or not colon) and re.fullmatch(r"[\w.-]+/[\w.-]+", model_id)):
        raise TrackerError(
            f"`{pair}` is not `SOURCE:NAME=org/name`",
            hint="example: --match 'lmarena:qwen3-8b=Qwen/Qwen3-8B'; without a source, all its names",
        )
    with Store.open(settings) as store:
        if colon:
            known = {*SOURCES, *(str(row["source"]) for row in store.query("sources"))}
            if source not in known:
                raise UnknownNameError("source", source, known=known)
            pairs = [(source, name)]
        else:
            pairs = _names_of(left, store.query("source_names"))
        aliases = tuple(Alias(*each, model_id, "person") for each in pairs)
        added_at = datetime.now(UTC)
        store.add_aliases(aliases, at=added_at)
    log_aliases(settings, aliases, at=added_at)
    publish(settings)
    return aliases


def _names_of(model: str, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Source and name of every unmatched name of that model.

    Raises:
        UnknownNameError: there is none.
    """
    lacking = [row for row in rows if row["model_id"] is None]
    found = [(row["source"], row["name"]) for row in lacking if model_key(row["name"]) == model_key(model)]
    if not found:
        raise UnknownNameError("unmatched model", model, known={bare_name(row["name"]) for row in lacking})
    return found


def _owners(name: Name) -> tuple[str, ...]:
    """Known Hub accounts of the organization, and of every provider in front of the name."""
    given = [name.organization or "", *name.name.split("/")[:-1]]
    return tuple(dict.fromkeys(account for one in given for account in accounts(one)))


def _variants(rows: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, NameKey]]:
    """How many names with an effort each source has for a model."""
    return Counter(
        (row["source"], model_key(row["name"]))
        for row in rows
        if without_effort(bare_name(row["name"])) != bare_name(row["name"])
    )


def _name(row: Mapping[str, Any], variants: Mapping[tuple[str, NameKey], int]) -> Name:
    return Name(
        row["source"],
        row["name"],
        row["organization"],
        row["hub_id"],
        row["access"],
        released=_day(row["released_at"]),
        is_index_only=row["is_index_only"],
        has_variants=variants[row["source"], model_key(row["name"])] > 1,
    )


def _hub_names(rows: Iterable[Mapping[str, Any]]) -> HubNames:
    """The index of the rows of `known_models`."""
    listed = list(rows)
    repositories = (
        Repository(str(row["name"]), ModelKind(row["kind"]), _day(row["released_at"])) for row in listed
    )
    return HubNames(repositories, (parent for row in listed for parent in row["base_models"]))


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment is not None else None


def _tables() -> Tables:
    return load_tables()
