"""The least that the shipped script took on this machine: under load the same computing takes more CPU time.

An edited script is compared with that first. One that is over the limit is compared with the shipped script
once more, as it trains right after: so neither a busy hour at the first measurement allows too much, nor one
at the second too little.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from runners.research.evaluation.cheat_checks import TrainingCost
from tracker.serialization import write_atomically

LEAST_COSTS = "least-costs"  # JSON, in the folder of trainings, whose `*.json` are trainings
FIELDS = ("head_s", "steps_s", "eval_s", "prepare_s")


def least_cost(folder: Path, name: str, seen: TrainingCost) -> TrainingCost:
    """The least of each part of the cost of `name` that was seen in this home, `seen` included.

    The seed changes what is computed with, not how much, so one value stands for all seeds.
    """
    known = _read(folder / LEAST_COSTS)
    before = known.get(name, {})
    least = {field: min(getattr(seen, field), before.get(field, getattr(seen, field))) for field in FIELDS}
    if least != before:
        content = json.dumps({**known, name: least}, sort_keys=True)
        write_atomically(folder / LEAST_COSTS, content.encode())
    return replace(seen, **least)


def _read(path: Path) -> dict[str, Mapping[str, float]]:
    """What is known; a file that cannot be read is begun again."""
    try:
        content = json.loads(path.read_bytes())
        return {
            str(name): {field: float(costs[field]) for field in FIELDS} for name, costs in content.items()
        }
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return {}
