"""Registries of what can be added without a fork: engines, agents, sources, executors.

A name is one of ours, an entry point of an installed package, or `package.module:Class` itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.interpreter import extension_hint


@dataclass(frozen=True, slots=True)
class Registry(Mapping[str, str]):
    """Name → `package.module:attribute`, imported only when asked for."""

    kind: str  # in messages: "source"
    group: str  # of the entry points
    built_in: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """The place of `name`; one of ours wins over an entry point of the same name."""
        found = self.built_in.get(name) or installed(self.group).get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        """Every name, ours first."""
        return iter({**self.built_in, **installed(self.group)})

    def __len__(self) -> int:
        """How many names there are."""
        return len({*self.built_in, *installed(self.group)})

    def place(self, name: str) -> str:
        """`package.module:attribute` of a name, or of itself.

        Raises:
            UnknownNameError: there is none.
        """
        found = self.get(name, name)
        if ":" not in found:
            raise UnknownNameError(self.kind, name, known=self)
        return found

    def load(self, name: str) -> Any:
        """The class, function or value that `name` stands for.

        Raises:
            UnknownNameError: there is none.
            TrackerError: it cannot be imported.
        """
        module_name, _, attribute = self.place(name).partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            is_missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
                f"{error.name}."
            )
            what = "is not installed" if is_missing else f"cannot be imported: {error}"
            hint = extension_hint(module_name) if is_missing else "repair the package that it comes from"
            raise TrackerError(f"{self.kind} `{name}` {what}", hint=hint) from error
        if not hasattr(module, attribute):
            message = f"{self.kind} `{name}`: `{module_name}` has no `{attribute}`"
            raise TrackerError(message, hint="use the form `package.module:Class`")
        return getattr(module, attribute)


@lru_cache
def installed(group: str) -> Mapping[str, str]:
    """The entry points of a group: name → place."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=group)}
