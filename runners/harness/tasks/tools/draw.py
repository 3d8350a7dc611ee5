"""The hooks through which lm-eval gets the requests of a task and the metrics of a transcript.

The calls of a transcript are made again, in a fresh world: a stored answer can be graded again, and nothing
that a model wrote can claim its own result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runners.harness.tasks.tools.kinds import Found, ToolEpisode, ToolRequest, tool_request
from tracker.records.transcripts import parse_transcript

SPLIT = "test"


def datasets_for(*, kind: str, seed: int, n_items: int, **_: object) -> dict[str, Any]:
    """What lm-eval's `custom_dataset` must return: one row per request."""
    from datasets import Dataset

    return {SPLIT: Dataset.from_list([document(kind, seed=seed, number=number) for number in range(n_items)])}


def document(kind: str, *, seed: int, number: int) -> dict[str, Any]:
    """One request as a row; the digest covers everything that is drawn."""
    request = tool_request(kind, seed=seed, number=number)
    return {
        "kind": kind,
        "seed": seed,
        "number": number,
        "level": request.level,
        "question": request.text,
        "target": target(request),
        "digest": request.digest(),
    }


def begin_episode(doc: Mapping[str, Any]) -> ToolEpisode:
    """The episode of a row."""
    return ToolEpisode(tool_request(str(doc["kind"]), seed=int(doc["seed"]), number=int(doc["number"])))


def target(request: ToolRequest) -> str:
    """The calls that fulfil a request, one a line."""
    return "\n".join(
        f"{step.tool} {json.dumps(step.arguments, default=_described)}" if step.tool else "(asks)"
        for step in request.solution
    )


def _described(found: Found) -> str:
    return f"({found.name} of call {found.place + 1})"


def graded(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The metrics of one transcript: `success` is 1 if the world is as it should be at the end, else 0."""
    transcript = parse_transcript(results[0])
    calls = transcript.calls if transcript else ()
    episode = begin_episode(doc)
    problems = [episode.call(call.name, call.arguments).problem for call in calls]
    messages = transcript.messages if transcript else ()
    return {
        "success": float(transcript is not None and episode.is_solved),
        "calls": float(len(calls)),
        "turns": float(sum(one.role == "assistant" for one in messages)),
        "parallel": float(any(len(one.calls) > 1 for one in messages)),
        "unparsed_calls": float(sum(one.problem is not None for one in messages)),
        "unknown_tools": float(problems.count("unknown tool")),
        "wrong_arguments": float(problems.count("wrong arguments")),
        "cut_short": float(transcript is None or transcript.end != "done"),
    }
