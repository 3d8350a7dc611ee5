"""Build the prompts of multiple-choice questions while the engine loads, so that it need not wait for them.

Only of tasks whose prompts are made by templates: a task's own functions run when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from runners.engines import ContinuationRequest
from runners.engines.pairs_ahead import PAIRS_AHEAD
from runners.harness.lm_tasks import LeafTask
from runners.harness.questions import TaskQuestion
from runners.harness.scoring import TASK_ERRORS
from tracker.errors import TrackerError

MOST_QUESTIONS = 30_000  # held at once: one of MMLU with five examples takes 7 kB

Wanted = tuple[LeafTask, tuple[int, ...] | None]  # a task, and its documents; None: all


@contextmanager
def prompts_ahead(wanted: Sequence[Wanted]) -> Iterator[None]:
    """Build them task by task during the block, as many as can be held; what fails is raised at its turn."""
    left = MOST_QUESTIONS
    with ThreadPoolExecutor(1, thread_name_prefix="prompts") as thread:
        for leaf, docs in wanted:
            left -= leaf.n_docs if docs is None else len(docs)
            if left < 0:
                break
            if leaf.is_choice and not leaf.chat and leaf.has_plain_prompts:
                leaf.expect(docs, thread.submit(_built, leaf, docs))
        try:
            yield
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
            PAIRS_AHEAD.clear()


def _built(leaf: LeafTask, docs: tuple[int, ...] | None) -> list[TaskQuestion]:
    questions = leaf.build(docs=docs, chat_prompt=None)
    requests = [request for question in questions for request in question.requests]
    PAIRS_AHEAD.offer([request for request in requests if isinstance(request, ContinuationRequest)])
    with suppress(TrackerError, *TASK_ERRORS):  # told when they are wanted; they are kept by the task
        _ = leaf.identity, leaf.chance
    return questions
