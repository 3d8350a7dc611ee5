"""Build the prompts of multiple-choice questions while the engine loads, so that it need not wait for them.

Only of tasks whose prompts are made by templates: a task's own functions run when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from runners.harness.lm_tasks import LeafTask

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
                leaf.expect(docs, thread.submit(leaf.build, docs=docs, chat_prompt=None))
        try:
            yield
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
