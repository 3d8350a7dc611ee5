"""The process that holds the homes: one line of JSON in, one line out, until its input ends.

It reads nothing else and reaches nothing: no file, no socket, no clock but the simulated one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from runners.harness.tasks.home.levels import HomeEpisode, begun, document, grade, target

Asked = Mapping[str, Any]


class Homes:
    """The open episodes, by number."""

    def __init__(self) -> None:
        self._episodes: dict[int, HomeEpisode] = {}
        self._n_begun = 0
        self._operations: Mapping[str, Callable[[Asked], Any]] = {
            "document": lambda asked: document(asked["level"], seed=asked["seed"], number=asked["number"]),
            "describe": self._describe,
            "begin": self._begin,
            "call": self._call,
            "end": lambda asked: self._episodes.pop(asked["episode"]).report(),
            "target": lambda asked: target(asked["doc"]),
            "grade": lambda asked: grade(asked["doc"], [(name, given) for name, given in asked["calls"]]),
        }

    def answer(self, asked: Asked) -> Any:
        """The answer to one question of the worker."""
        return self._operations[asked["op"]](asked)

    def _describe(self, asked: Asked) -> Any:
        episode = begun(asked["doc"])
        level = episode.level
        limits = {"turns": level.turns, "calls": level.calls, "budgets": level.budgets}
        return {"first": episode.first, "tools": episode.tools, "limits": limits}

    def _begin(self, asked: Asked) -> int:
        self._n_begun += 1
        self._episodes[self._n_begun] = begun(asked["doc"])
        return self._n_begun

    def _call(self, asked: Asked) -> Any:
        result = self._episodes[asked["episode"]].call(asked["name"], asked["arguments"])
        return {"content": result.content, "problem": result.problem}


def main() -> None:
    """Answer until the worker is gone."""
    homes = Homes()
    for line in sys.stdin:
        answer = homes.answer(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
