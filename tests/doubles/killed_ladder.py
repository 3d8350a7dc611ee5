"""A ladder that ends itself with SIGKILL amid its last rung: `python -m tests.doubles.killed_ladder`.

Standard input has the home, the weights of the rungs and their engine as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from runners.harness.events import Event
from tests.conftest import ROOT
from tracker.ladder.run import LadderRequest, ladder
from tracker.records import EngineSettings
from tracker.settings import Settings


def request_of(folders: dict[str, str], engine: str) -> LadderRequest:
    """The ladder of these folders, the parent first."""
    parent, *copies = folders.values()
    return LadderRequest(
        model=parent,
        engine=EngineSettings(engine=engine),
        copies=tuple(copies),
        tasks=("sums",),
        include_path=ROOT / "tests" / "tasks",
        precision=0.06,
        limit=140,
    )


def main(asked: dict[str, Any]) -> None:
    """Measure until items of the last rung are answered, and die."""
    rung = ""

    def tell(line: str) -> None:
        nonlocal rung
        rung = line

    def on_event(event: Event) -> None:
        if rung.startswith(f"rung {len(asked['folders'])}") and event.n_done > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    request = request_of(asked["folders"], asked["engine"])
    ladder(request, Settings(home=Path(asked["home"])), on_event, tell=tell)


if __name__ == "__main__":
    main(json.load(sys.stdin))
