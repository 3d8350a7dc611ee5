"""Stream the requests of a task through an engine and make items of the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

from runners.engines import (
    REFUSED,
    Continuation,
    ContinuationRequest,
    Engine,
    Generation,
    GenerationRequest,
    RequestRefusedError,
    TextRequest,
    TextScorer,
    is_served,
)
from runners.harness.episodes import play
from runners.harness.questions import Leaf, Request, TaskQuestion
from runners.harness.scoring import UNPARSED, item_score
from runners.step_limits import GIB, limited_step
from tracker.errors import EngineError
from tracker.records import CUT_OFF, Item
from tracker.records.transcripts import parse_transcript
from tracker.wording import counted

SIMPLE_QUESTION = "Which is larger, 17 or 71?"
THINKING_TOKENS = 512  # enough to see that thinking has begun
SCORE_S = 60.0  # of computing time for one answer: a task's filters are programs of others
SCORE_BYTES = 2 * GIB
SCORE_HINT = "check the filters and metrics in the task's YAML file"

Reply = Continuation | Generation


def answer(
    engine: Engine, questions: Sequence[TaskQuestion], *, stop: Callable[[], bool]
) -> Generator[tuple[TaskQuestion, Item]]:
    """Yield each question with its item as soon as it is fully answered, until `stop()`.

    A question that the server refuses gets an empty answer; one without its log-probabilities gets none.

    Raises:
        EngineError, UnreachableError: the engine died; items already yielded stay valid.
    """
    episodes = [question for question in questions if question.episode is not None]
    for place, transcript in play(engine, episodes, stop=stop):
        yield episodes[place], episode_item(episodes[place], transcript)
    questions = [question for question in questions if question.episode is None]
    if not questions or stop():
        return
    requests = [request for question in questions for request in question.requests]
    owners = [n for n, question in enumerate(questions) for _ in question.requests]
    first = [0, *itertools.accumulate(len(question.requests) for question in questions)]
    incomplete: dict[int, dict[int, Reply]] = {}
    with closing(_accepting_refusals(_stream(engine, requests), requests)) as stream:
        for place, reply in stream:
            n = owners[place]
            question = questions[n]
            replies = incomplete.setdefault(n, {})
            replies[place] = reply
            if len(replies) == len(question.requests):
                del incomplete[n]
                item = item_of(question, [replies[place] for place in range(first[n], first[n + 1])])
                question.forget_instances()
                yield question, item
            if stop():
                return


def thinks(engine: Engine) -> bool:
    """Whether the model thinks before it answers a simple question; False without a chat template.

    A server may hide the mark that begins the thinking, in its template: an answer that never ends counts.
    """
    is_server = is_served(engine.info.engine)
    try:
        prompt = engine.chat_prompt([{"role": "user", "content": SIMPLE_QUESTION}])
        request = GenerationRequest(prompt=prompt, max_output_tokens=THINKING_TOKENS)
        answers = [written for _, written in engine.generate([request])]
    except EngineError as error:
        if error.reason != "unsupported":
            raise
        return False
    return any(one.thinking or (is_server and one.finish_reason in CUT_OFF) for one in answers)


def _stream(engine: Engine, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
    """Stream choices first, then whole texts, then answers: an engine takes one kind at a time."""
    places: dict[type, list[int]] = {ContinuationRequest: [], TextRequest: [], GenerationRequest: []}
    for place, request in enumerate(requests):
        places[type(request)].append(place)
    choices, texts, prompts = places.values()
    if choices:
        for n, scored in engine.log_probs(_at(requests, choices)):
            yield choices[n], scored
    if texts:
        if not isinstance(engine, TextScorer):
            message = f"the engine `{engine.info.engine}` cannot score whole texts"
            raise EngineError(message, reason="unsupported", hint="--engine vllm, or --engine transformers")
        for n, scored in engine.text_log_probs(_at(requests, texts)):
            yield texts[n], scored
    if prompts:
        for n, written in engine.generate(_at(requests, prompts)):
            yield prompts[n], written


def _at(requests: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    return requests if len(places) == len(requests) else [requests[place] for place in places]


def _accepting_refusals(
    stream: Generator[tuple[int, Reply]], requests: Sequence[Request]
) -> Generator[tuple[int, Reply]]:
    """The stream, with an empty answer for every request for a text if the server refuses all of them."""
    left = {place for place, request in enumerate(requests) if type(request) is GenerationRequest}
    try:
        with closing(stream):
            for place, reply in stream:
                left.discard(place)
                yield place, reply
    except RequestRefusedError:
        if len(left) < sum(isinstance(request, GenerationRequest) for request in requests) or not left:
            raise  # of a choice, which cannot be scored without an answer
        for place in sorted(left):
            yield place, REFUSED


def item_of(question: TaskQuestion, replies: Sequence[Reply]) -> Item:
    """Build the item from all replies to a question; without a log-probability there is no verdict."""
    if any(isinstance(reply, Continuation) and reply.is_missing for reply in replies):
        return _unscored(question)
    scored = [r for r in replies if isinstance(r, Continuation)]
    written = [r for r in replies if isinstance(r, Generation)]
    answers = [_answer(request, reply) for request, reply in zip(question.requests, replies, strict=True)]
    with _scoring_limits(question.leaf):
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
        choices=verdict.choices,
        log_probs=tuple(r.log_prob for r in scored),
        thinking="\n\n".join(r.thinking for r in written if r.thinking) or None,
    )


def _scoring_limits(leaf: Leaf) -> AbstractContextManager[None]:
    if getattr(leaf, "is_scored_by_lm_eval", False):
        return nullcontext()
    return limited_step(
        f"scoring an answer of task `{leaf.name}`", cpu_s=SCORE_S, extra_bytes=SCORE_BYTES, hint=SCORE_HINT
    )


def episode_item(question: TaskQuestion, whole: Generation) -> Item:
    """The item of an episode, whose answer is its transcript."""
    item, found = item_of(question, [whole]), parse_transcript(whole.text)
    if found is None:
        return item
    n_calls = counted(len(found.calls), "call")
    return replace(item, extracted=UNPARSED if found.end == "unparsed" else f"{found.end} after {n_calls}")


def _unscored(question: TaskQuestion) -> Item:
    """The item of a question of which a log-probability is missing: no choice is preferred to another."""
    return Item(
        task=question.leaf.name,
        doc_id=question.doc_id,
        doc_hash=question.doc_hash,
        prompt=question.prompt,
        target="",
        response="",
        extracted="",
        score=None,
        metrics={},
        finish_reason=REFUSED.finish_reason,
        prompt_tokens=0,
        output_tokens=0,
    )


def _answer(request: Request, reply: Reply) -> Any:
    """The reply as lm-eval's models return it for that type of request."""
    if isinstance(reply, Generation):
        return reply.text
    return reply.log_prob if isinstance(request, TextRequest) else (reply.log_prob, reply.is_greedy)


def _finish_reason(written: Sequence[Generation]) -> str:
    if not written:
        return "loglikelihood"
    reasons = {r.finish_reason for r in written}
    return next((reason for reason in ("refused", *reversed(CUT_OFF)) if reason in reasons), "stop")


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
