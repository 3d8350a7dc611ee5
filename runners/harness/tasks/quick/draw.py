"""The hook through which lm-eval gets the items of a task: a recipe, a seed, a number of items.

Same recipe, seed and reasoning-gym: same items, on every machine and every Python. Only generators that draw
from `random.Random` and iterate over nothing unordered are used.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import reasoning_gym

SPLIT = "test"
SHOTS_SPLIT = "shots"
MAX_TRIES = 50_000  # entries checked for one level; 32 items of the rarest kind need about 10,000

Entry = Mapping[str, Any]  # from reasoning-gym: question, answer, metadata


@dataclass(frozen=True, slots=True)
class Question:
    """One item with a written answer."""

    question: str
    answer: str
    level: int  # 1: easy

    def key(self) -> str:
        """The text that must be unique among the items."""
        return self.question


@dataclass(frozen=True, slots=True)
class Choice:
    """One multiple-choice item, scored by the most probable choice."""

    question: str
    choices: tuple[str, ...]
    gold: int  # index of the correct one
    level: int

    def key(self) -> str:
        """The text that must be unique among the items."""
        return self.question


Drawn = Question | Choice


@dataclass(frozen=True, slots=True)
class Level:
    """One level of difficulty: the source of its entries and the filter for valid ones."""

    generator: str  # reasoning-gym's name
    options: Mapping[str, Any]
    is_good: Callable[[Entry], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build the items of a task: levels of increasing difficulty, and a function from entry to item.

    `item` gets the entry, its level, its place in the level and a random generator; None skips the entry.
    """

    levels: Sequence[Level]
    item: Callable[[Entry, int, int, Random], Drawn | None]


def drawn_items(recipe: Recipe, *, name: str, seed: int, n_items: int) -> list[Drawn]:
    """Draw `n_items` different items, the levels in turn, so that the first few cover all levels.

    Raises:
        ValueError: there are not enough different items.
    """
    sources = [
        _items_of_level(recipe, number, name=name, seed=seed) for number in range(1, len(recipe.levels) + 1)
    ]
    items: dict[str, Drawn] = {}
    for source in itertools.cycle(sources):
        if len(items) == n_items:
            return list(items.values())
        item = next((i for i in source if i.key() not in items), None)
        if item is None:
            raise ValueError(f"task `{name}`: one level has too few different items for {n_items} in all")
        items[item.key()] = item
    raise AssertionError("a recipe has at least one level")


def _items_of_level(recipe: Recipe, number: int, *, name: str, seed: int) -> Iterator[Drawn]:
    level = recipe.levels[number - 1]
    chance = Random(f"{name}/{number}/{seed}")  # a text seed is hashed with sha512 on every Python version
    entries = reasoning_gym.create_dataset(
        level.generator, seed=entry_seed(name, number, seed), size=MAX_TRIES, **level.options
    )
    place = 0
    for index in range(MAX_TRIES):
        entry = entries[index]
        if not level.is_good(entry):
            continue
        item = recipe.item(entry, number, place, chance)
        if item is not None:
            place += 1
            yield item


def entry_seed(name: str, level: int, seed: int) -> int:
    """The seed for reasoning-gym, which adds an entry's index to it, so nearby seeds would share entries."""
    digest = hashlib.sha256(f"{name}/{level}/{seed}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def items_hash(items: Sequence[Drawn]) -> str:
    """Hash of the items, 16 hex digits."""
    return hashlib.sha256(repr([asdict(item) for item in items]).encode()).hexdigest()[:16]


def datasets_for(*, recipe: str, seed: int, n_items: int, n_shots: int = 0, **_: object) -> dict[str, Any]:
    """What lm-eval's `custom_dataset` must return: the items, and the worked examples shown before them.

    The examples come from a draw of their own, so that they stay the same whatever `seed` is.
    """
    from datasets import Dataset

    from runners.harness.tasks.quick.recipes import RECIPES

    shots = drawn_items(RECIPES[recipe], name=f"{recipe}/shots", seed=0, n_items=max(n_shots, 1))
    seen = {shot.key() for shot in shots}
    items = drawn_items(RECIPES[recipe], name=recipe, seed=seed, n_items=n_items + len(shots))
    fresh = [item for item in items if item.key() not in seen][:n_items]
    return {
        SPLIT: Dataset.from_list([asdict(item) for item in fresh]),
        SHOTS_SPLIT: Dataset.from_list([asdict(shot) for shot in shots]),
    }
