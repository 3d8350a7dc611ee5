"""The order in which answers are begun where it is free: longest first, so that none is alone at the end.

A score, an item and its fingerprint do not depend on the order, only the time that all of them take.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from runners.engines import GenerationRequest
from runners.harness.questions import TaskQuestion


def longest_first(
    questions: Sequence[TaskQuestion], expected_tokens: Mapping[str, Sequence[int]]
) -> list[TaskQuestion]:
    """The questions whose answers are expected to be longest first, in tokens.

    `expected_tokens`: of each task, by `doc_id`; 0 is unknown. A question that is not in it counts as the
    median of its task, and all of a task that is not in it as long as their budget.
    """
    medians = {
        task: statistics.median(known)
        for task, of_task in expected_tokens.items()
        if (known := [n_tokens for n_tokens in of_task if n_tokens])
    }
    lengths: list[float] = []
    for question in questions:
        task, budget = question.leaf.base_name, question.leaf.max_output_tokens or 0
        of_task = expected_tokens.get(task, ())
        expected = of_task[question.doc_id] if question.doc_id < len(of_task) else 0
        lengths.append(min(expected or medians.get(task, budget), budget))
    _lift_equal_prompts(questions, lengths)
    return [questions[n] for n in sorted(range(len(questions)), key=lambda n: -lengths[n])]


def _lift_equal_prompts(questions: Sequence[TaskQuestion], lengths: list[float]) -> None:
    """Give those that engines number, for a seed of each, the same length, so that they keep their order."""
    numbered: dict[str, list[int]] = {}
    for n, question in enumerate(questions):
        if any(_is_numbered(request) for request in question.requests):
            numbered.setdefault(question.prompt, []).append(n)
    for places in numbered.values():
        longest = max(lengths[n] for n in places)
        for n in places:
            lengths[n] = longest


def _is_numbered(request: object) -> bool:
    return isinstance(request, GenerationRequest) and request.temperature > 0 and request.seed is None
