"""One model under many names: which name of which source is which repository of the Hub.

Certain matches become aliases: what a person said, what the source itself states, the same id, and a name
that equals exactly one repository of the organization's own. All else is listed for a person, never guessed.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.tables import Tables, load_tables
from tracker.settings import Settings
from tracker.sources import SOURCES
from tracker.store import Alias, Store, open_snapshot, publish

# how sources call an organization → its accounts on the Hub
ORGANIZATIONS = {
    "01.ai": ("01-ai",),
    "ai2": ("allenai",),
    "alibaba": ("qwen",),
    "allen institute for ai": ("allenai",),
    "baidu": ("baidu",),
    "cohere": ("coherelabs", "cohereforai"),
    "deepseek": ("deepseek-ai",),
    "google": ("google",),
    "google deepmind": ("google",),
    "huggingface": ("huggingfacetb",),
    "ibm": ("ibm-granite",),
    "meta": ("meta-llama",),
    "meta ai": ("meta-llama",),
    "microsoft": ("microsoft",),
    "minimax": ("minimaxai",),
    "mistral": ("mistralai",),
    "mistral ai": ("mistralai",),
    "moonshot": ("moonshotai",),
    "moonshot ai": ("moonshotai",),
    "moonshotai": ("moonshotai",),
    "nvidia": ("nvidia",),
    "openai": ("openai",),
    "qwen": ("qwen",),
    "tii": ("tiiuae",),
    "xiaomi": ("xiaomimimo",),
    "z-ai": ("zai-org",),
    "z.ai": ("zai-org",),
    "zai": ("zai-org",),
    "zhipu ai": ("zai-org",),
}
CHAT_SUFFIXES = ("it", "chat", "instruct", "sft")  # of a folded name, beside a base model without one
N_CANDIDATES = 3
COMMON = 1000  # repositories: what so many share, such as `inst`, tells nothing
COMPARED = 100
LIKENESS = 0.6  # of two folded names, by difflib: below it a candidate is no help


@dataclass(frozen=True, slots=True)
class Name:
    """A model as a source names it."""

    source: str
    name: str
    organization: str | None
    hub_id: str | None  # as the source states it
    access: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A name that may be a repository of the Hub, and those that look like it."""

    source: str
    name: str
    organization: str | None
    access: str
    candidates: tuple[str, ...]


class HubNames:
    """The repositories known here, found by what is left of a name without case and punctuation."""

    def __init__(self, model_ids: Iterable[str]) -> None:
        self.by_key = {model_id.casefold(): model_id for model_id in model_ids}
        self.by_fold: dict[str, list[str]] = defaultdict(list)
        self.by_owner: dict[str, list[str]] = defaultdict(list)
        for model_id in self.by_key.values():
            owner, _, name = model_id.partition("/")
            self.by_fold[fold(name)].append(model_id)
            self.by_owner[owner.casefold()].append(model_id)
        self._by_gram: dict[str, list[str]] = {}

    def like(self, folded: str) -> list[str]:
        """The repositories that share most with that folded name: comparing it with all takes too long."""
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
    """Every run of four characters in a folded name; the whole of a shorter one."""
    return {folded[at : at + 4] for at in range(max(len(folded) - 3, 1))}


def fold(name: str) -> str:
    """The name in small letters without punctuation; a dot between digits stays, since 2.5 is not 25."""
    kept = re.sub(r"[^a-z0-9.]", "", name.casefold())
    return re.sub(r"(?<!\d)\.|\.(?!\d)", "", kept)


def match(name: Name, hub: HubNames, table: Mapping[str, str]) -> Alias | None:
    """The repository that this name certainly is; None if that is not certain."""
    stated = name.hub_id
    if stated:
        return Alias(name.source, name.name, hub.by_key.get(stated.casefold(), stated), "stated")
    same = hub.by_key.get(name.name.casefold())
    if same:
        return Alias(name.source, name.name, same, "same_id")
    if name.source == "epoch" and name.name in table:
        return Alias(name.source, name.name, table[name.name], "published_table")
    owners = _owners(name)
    own = name.name.rpartition("/")[2]
    found = [m for m in hub.by_fold.get(fold(own), ()) if m.partition("/")[0].casefold() in owners]
    # `gemma-4-31b` in an arena is the chat model, and a base model has that very name on the Hub
    is_ambiguous = any(
        sibling.partition("/")[0].casefold() in owners
        for suffix in CHAT_SUFFIXES
        for sibling in hub.by_fold.get(fold(own) + suffix, ())
    )
    if len(found) == 1 and not is_ambiguous and name.access != "closed":
        return Alias(name.source, name.name, found[0], "organization_and_name")
    return None


def candidates(name: Name, hub: HubNames) -> tuple[str, ...]:
    """Repositories that look like it, the likest first."""
    own = fold(name.name.rpartition("/")[2])
    pool = [model_id for owner in _owners(name) for model_id in hub.by_owner.get(owner, ())]
    folded = {fold(model_id.partition("/")[2]): model_id for model_id in pool or hub.like(own)}
    near = difflib.get_close_matches(own, folded, n=N_CANDIDATES, cutoff=LIKENESS)
    return tuple(folded[key] for key in near)


def resolve_names(settings: Settings) -> int:
    """How many names were given their repository now; aliases of a person are never changed."""
    table = {row.model: row.hub_id for row in _tables().models.values() if row.hub_id}
    with Store.open(settings) as store:
        rows = store.query("source_names")
        hub = HubNames(str(row["name"]) for row in store.query("known_models"))
        found = [
            alias
            for row in rows
            if row["model_id"] is None and (alias := match(_name(row), hub, table)) is not None
        ]
        if found:
            store.add_aliases(found)
    return len(found)


def unmatched(settings: Settings, *, n: int | None = None) -> list[Unmatched]:
    """The names of open models without a repository; the first `n` of them with candidates."""
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("source_names")
        hub = HubNames(str(row["name"]) for row in snapshot.query("known_models"))
    open_ = [_name(row) for row in rows if row["model_id"] is None and row["access"] != "closed"]
    return [
        Unmatched(
            name.source,
            name.name,
            name.organization,
            name.access,
            candidates(name, hub) if n is None or place < n else (),
        )
        for place, name in enumerate(open_)
    ]


def add_match(settings: Settings, pair: str) -> Alias:
    """Keep what a person says: `SOURCE:NAME=org/name`.

    Raises:
        TrackerError: it is not of that form.
        UnknownNameError: there is no such source.
    """
    left, _, model_id = pair.rpartition("=")
    source, _, name = left.partition(":")
    if not (source and name and re.fullmatch(r"[\w.-]+/[\w.-]+", model_id)):
        raise TrackerError(
            f"`{pair}` is no match", hint="--match 'lmarena:qwen3-8b=Qwen/Qwen3-8B': source, name, repository"
        )
    if source not in SOURCES:
        raise UnknownNameError("source", source, known=SOURCES)
    alias = Alias(source, name, model_id, "person")
    with Store.open(settings) as store:
        store.add_aliases([alias])
    publish(settings)
    return alias


def _owners(name: Name) -> tuple[str, ...]:
    """The organization's accounts on the Hub, as far as they are known."""
    given = [name.organization or "", name.name.partition("/")[0] if "/" in name.name else ""]
    found: list[str] = []
    for organization in given:
        key = organization.casefold().strip()
        if key:
            found += ORGANIZATIONS.get(key, (key,))
    return tuple(dict.fromkeys(found))


def _name(row: Mapping[str, Any]) -> Name:
    return Name(row["source"], row["name"], row["organization"], row["hub_id"], row["access"])


def _tables() -> Tables:
    return load_tables()
