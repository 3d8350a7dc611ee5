"""Questions in, items out: streams the requests of a task through an engine and keeps what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from runners.engines import Continuation, ContinuationRequest, Engine, Generation, GenerationRequest
from runners.harness.questions import Question, Request
from runners.harness.scoring import item_score
from tracker.items import write_part
from tracker.records import Item

FLUSH_ITEMS = 2_000  # keeps a chunk small in memory

Reply = Continuation | Generation


@dataclass(slots=True)
class ItemSink:
    """Collects items per fingerprint and writes them in chunks."""

    items_path: Path
    run_id: str
    flush_s: float
    pending: dict[str, list[Item]] = field(default_factory=dict)
    last_flush: float = field(default_factory=time.monotonic)

    def add(self, fingerprint: str, item: Item) -> None:
        """Keep the item; write a chunk when one is due."""
        self.pending.setdefault(fingerprint, []).append(item)
        n_pending = sum(map(len, self.pending.values()))
        if n_pending >= FLUSH_ITEMS or time.monotonic() - self.last_flush >= self.flush_s:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; what has been written is not pending any more, whatever fails later."""
        for fingerprint in list(self.pending):
            write_part(self.items_path, self.run_id, fingerprint, self.pending[fingerprint])
            del self.pending[fingerprint]
        self.last_flush = time.monotonic()


def answer(
    engine: Engine, questions: Sequence[Question], *, stop: Callable[[], bool]
) -> Iterator[tuple[Question, Item]]:
    """Yield each question with its item as soon as its last answer is there, until `stop()`.

    Raises:
        EngineError, UnreachableError: the engine died; what was yielded stays valid.
    """
    if not questions:
        return
    requests = [request for question in questions for request in question.requests]
    owners = [(n, part) for n, question in enumerate(questions) for part in range(len(question.requests))]
    opened: dict[int, list[Reply | None]] = {}
    with closing(_stream(engine, requests)) as stream:
        for place, reply in stream:
            n, part = owners[place]
            question = questions[n]
            replies = opened.setdefault(n, [None] * len(question.requests))
            replies[part] = reply
            whole = [r for r in replies if r is not None]
            if len(whole) == len(replies):
                del opened[n]
                yield question, item_of(question, whole)
            if stop():
                return


def _stream(engine: Engine, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
    """Choices first, then texts: an engine answers one kind at a time."""
    choices = [(place, r) for place, r in enumerate(requests) if isinstance(r, ContinuationRequest)]
    texts = [(place, r) for place, r in enumerate(requests) if isinstance(r, GenerationRequest)]
    if choices:
        for n, scored in engine.log_probs([r for _, r in choices]):
            yield choices[n][0], scored
    if texts:
        for n, written in engine.generate([r for _, r in texts]):
            yield texts[n][0], written


def item_of(question: Question, replies: Sequence[Reply]) -> Item:
    """The item that these replies make."""
    scored = [r for r in replies if isinstance(r, Continuation)]
    written = [r for r in replies if isinstance(r, Generation)]
    answers: list[object] = [(r.log_prob, r.is_greedy) for r in scored] or [r.text for r in written]
    verdict = question.leaf.verdict(question, answers)
    metric, filter_name = question.leaf.metric, question.leaf.filter
    return Item(
        task=question.leaf.name,
        doc_id=question.doc_id,
        doc_hash=question.doc_hash,
        prompt=question.prompt,
        target=verdict.target,
        response=verdict.response,
        extracted=verdict.extracted,
        score=item_score(verdict.metrics, metric=metric, filter_name=filter_name),
        metrics=verdict.metrics,
        finish_reason=_finish_reason(written),
        prompt_tokens=sum(r.prompt_tokens for r in replies),
        output_tokens=sum(r.output_tokens for r in replies),
        cached_tokens=sum(r.cached_tokens for r in replies),
        latency_s=_largest([r.latency_s for r in written]),
        ttft_s=_largest([r.ttft_s for r in written]),
        choices=tuple(
            r.continuation.strip() for r in question.requests if isinstance(r, ContinuationRequest)
        ),
        log_probs=tuple(r.log_prob for r in scored),
        thinking="\n\n".join(r.thinking for r in written if r.thinking) or None,
    )


def _finish_reason(written: Sequence[Generation]) -> str:
    if not written:
        return "loglikelihood"
    return "length" if any(r.finish_reason == "length" for r in written) else "stop"


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
