"""The hooks through which lm-eval gets the commands of a task and the metrics of a transcript.

All of them ask the process of the homes: goals and states are never in the process of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runners.harness.tasks.home.client import RemoteEpisode, home_process
from tracker.records.transcripts import parse_transcript

SPLIT = "test"


def datasets_for(*, level: str, seed: int, n_items: int, **_: object) -> dict[str, Any]:
    """What lm-eval's `custom_dataset` must return: one row per command."""
    from datasets import Dataset

    homes = home_process()
    rows = [homes.ask_again("document", level=level, seed=seed, number=number) for number in range(n_items)]
    return {SPLIT: Dataset.from_list(rows)}


def begin_episode(doc: Mapping[str, Any]) -> RemoteEpisode:
    """The episode of a row."""
    return RemoteEpisode(doc, home_process())


def target(doc: Mapping[str, Any]) -> str:
    """What the home must be like, one goal a line."""
    return str(home_process().ask_again("target", doc=dict(doc)))


def graded(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The metrics of one transcript, whose calls are made again in a fresh home."""
    transcript = parse_transcript(results[0])
    calls = [(call.name, call.arguments) for call in transcript.calls] if transcript else []
    messages = transcript.messages if transcript else ()
    found: dict[str, float] = home_process().ask_again("grade", doc=dict(doc), calls=calls)
    return found | {
        "turns": float(sum(one.role == "assistant" for one in messages)),
        "unparsed_calls": float(sum(one.problem is not None for one in messages)),
        "cut_short": float(transcript is None or transcript.end != "done"),
    }


def total(values: Sequence[float]) -> float:
    """The sum over all episodes: unsafe actions are counted, never averaged."""
    return float(sum(values))
