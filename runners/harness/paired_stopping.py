"""Stop a task as soon as a model and a reference are told apart on the items that both answered.

The reference's answers are those stored here. Differences of items in random order are a sequence of
independent draws, so the interval of `anytime_difference` holds at whichever of them one stops. Items that
share a context are not independent: such tasks are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.harness.leaf_work import LeafWork
from runners.harness.lm_tasks import TaskUnavailableError
from runners.harness.questions import TaskQuestion
from runners.harness.scoring import item_score
from tracker.files.items import read_items, stored_parts
from tracker.records import Item
from tracker.records.paired import PairedOutcome, PairedReference
from tracker.stats import anytime_difference


@dataclass(frozen=True, slots=True)
class PairedTask:
    """The questions of a task that the reference has answered."""

    task: str
    reference: str
    questions: tuple[TaskQuestion, ...]
    scores: Mapping[tuple[str, int], float]  # of the reference, by task and doc_id
    work: Mapping[str, LeafWork]  # of the model, by task

    @classmethod
    def of(
        cls,
        task: str,
        works: Sequence[LeafWork],
        reference: PairedReference,
        *,
        suite: str,
        items_path: Path,
    ) -> PairedTask:
        """The questions with a stored score of the reference.

        Raises:
            TaskUnavailableError: there is none, or items share a context.
        """
        known = reference.fingerprints.get(suite, {})
        questions, scores = [], {}
        for work in works:
            stored = _stored(items_path, known.get(work.leaf.name))
            if any(item.cluster is not None for item in stored.values()):
                raise TaskUnavailableError(
                    f"task `{task}`: its items share contexts, so they are no independent draws",
                    hint="measure it whole and use `tracker compare`",
                )
            for question in work.questions:
                item = stored.get(question.doc_id)
                if item is None or item.doc_hash != question.doc_hash:
                    continue
                score = item_score(item.metrics, metric=work.leaf.metric, filter_name=work.leaf.filter)
                if score is not None:
                    questions.append(question)
                    scores[work.leaf.name, question.doc_id] = score
        if not questions:
            raise TaskUnavailableError(
                f"task `{task}`: `{reference.model_id}` has no stored score of any of its items",
                hint=f"`tracker bench {reference.model_id} --suite {suite}` first",
            )
        return cls(task, reference.model_id, tuple(questions), scores, {one.leaf.name: one for one in works})

    def outcome(self, questions: Sequence[TaskQuestion]) -> PairedOutcome | None:
        """The difference on these, in the order in which they were drawn; None: no item has a score."""
        own, theirs = [], []
        for question in questions:
            score = self.work[question.leaf.name].items[question.doc_id].score
            if score is not None:
                own.append(score)
                theirs.append(self.scores[question.leaf.name, question.doc_id])
        if not own:
            return None
        found = anytime_difference(own, theirs)
        n_total = len(self.questions)
        return PairedOutcome(self.reference, self.task, len(own), n_total, found.value, found.low, found.high)

    def is_told_apart(self, questions: Sequence[TaskQuestion]) -> bool:
        """Whether the interval of the difference on these excludes 0."""
        found = self.outcome(questions)
        return found is not None and not found.ci_low <= 0 <= found.ci_high


def _stored(items_path: Path, fingerprint: str | None) -> Mapping[int, Item]:
    if fingerprint is None:
        return {}
    return read_items(stored_parts(items_path, fingerprint), skipped=[])
