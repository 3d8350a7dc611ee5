"""Episodes: a model works with tools until it says that it is done, or a limit ends it.

All open episodes ask the engine at once, in rounds; whatever a model answers, an episode ends. Each is one
item: its answer is the transcript, from which the task's own code computes the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any, Protocol

from runners.engines import Engine, Generation, GenerationRequest
from runners.engines.tool_calls import read_answer
from runners.harness.questions import TaskQuestion
from runners.harness.tool_prompts import ChatRenderer
from tracker.errors import EngineError
from tracker.records.transcripts import MOST_CHARACTERS, Transcript, TranscriptCall, TranscriptMessage
from tracker.serialization import writable_text

AT_ONCE = 128  # open episodes: twice what a processor writes at once, so that none waits for the longest
MOST_LONGER = 3  # times the shortest prompt of a batch, its longest
MOST_UNREADABLE = 2  # answers in a row whose calls cannot be read
MOST_SAME = 4  # times in a row that one call is repeated
UNREADABLE = "Your tool call could not be read ({problem}). Repeat it in the right form."
ASKED_AGAIN = ("refused", "world")  # ends that are no fault of the model: a later run asks again
CUT_SHORT = ("turns", "calls", "tokens", "context")  # ends that are a limit's


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """How long an episode may be."""

    turns: int = 12  # answers
    calls: int = 32
    budgets: int = 8  # of one answer's tokens, for the whole episode


LIMITS = EpisodeLimits()


class EpisodeFailedError(Exception):
    """The world of an episode failed, which is no fault of the model; the message is a sentence."""


class CallResult(Protocol):
    """What a tool answers."""

    @property
    def content(self) -> str:
        """The result as text, or the error."""
        ...


class Episode(Protocol):
    """The world of one episode and the person who asks."""

    first: str  # what the person asks for
    tools: Sequence[Any]  # schemas, as chat templates take them
    limits: EpisodeLimits

    def call(self, name: str, arguments: Any) -> CallResult:
        """Call a tool; whatever the model wrote, there is a result.

        Raises:
            EpisodeFailedError: the world failed.
        """
        ...

    def reply(self) -> str | None:
        """What the person says to an answer without a call; None: nothing, the episode is over."""
        ...

    def report(self) -> Mapping[str, Any] | None:
        """What happened in the world, for a reader of the transcript; None: the calls tell it."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeStart:
    """How the episode of a question begins: with which world, and how tools are shown."""

    begin: Callable[[], Episode]
    renderer: ChatRenderer


def begin_function(place: str) -> Callable[[Any], Episode]:
    """The function `package.module:name` that begins the episode of a document."""
    module, _, name = place.partition(":")
    found: Callable[[Any], Episode] = getattr(import_module(module), name)
    return found


def with_episodes(
    questions: Sequence[TaskQuestion], place: str, renderer: ChatRenderer
) -> list[TaskQuestion]:
    """The questions of a task as episodes: their prompts show the tools."""
    begin = begin_function(place)
    found = []
    for question in questions:
        doc = question.instances[0].doc
        episode = begin(doc)
        prompt = renderer.prompt([TranscriptMessage("user", episode.first)], episode.tools)
        request = question.requests[0]
        assert isinstance(request, GenerationRequest)
        request = replace(request, prompt=prompt, stop=renderer.stop)
        start = EpisodeStart(partial(begin, doc), renderer)
        found.append(replace(question, prompt=str(prompt), requests=(request,), episode=start))
    return found


@dataclass(slots=True)
class OpenEpisode:
    """An episode in progress."""

    place: int
    request: GenerationRequest
    renderer: ChatRenderer
    episode: Episode
    n_context: int  # tokens that the model takes; 0: unknown
    messages: list[TranscriptMessage] = field(default_factory=list)
    answers: list[Generation] = field(default_factory=list)
    n_calls: int = 0
    n_unreadable: int = 0  # in a row
    latest: TranscriptCall | None = None
    n_same: int = 0  # in a row
    end: str | None = None

    def add(self, answer: Generation) -> None:
        """Take an answer of the model: call its tools, or let the person reply."""
        self.answers.append(answer)
        read = read_answer(answer.text, known=self._names(), given=answer.tool_calls)
        calls = tuple(TranscriptCall(call.name, call.arguments) for call in read.calls)
        text = answer.text[:MOST_CHARACTERS]
        place = len(self.messages)
        self.messages.append(TranscriptMessage("assistant", text, calls, read.problem))
        if answer.finish_reason == "refused":
            self.end = "refused"
        elif calls:
            n_called = self._call(calls)
            self.messages[place] = replace(self.messages[place], calls=calls[:n_called])
        elif answer.finish_reason in ("length", "repetition"):
            self.end = "tokens" if answer.finish_reason == "length" else "loop"
        elif read.problem is not None:
            self._ask_again(read.problem)
        else:
            self._reply()
        self.end = self.end or self._spent(answer)

    def next_request(self) -> GenerationRequest | None:
        """The request for the next answer; None: the template rejects what was said, which ends it."""
        if not self.answers:
            return self.request
        try:
            prompt = self.renderer.prompt(self.messages, self.episode.tools)
        except EngineError as error:
            if error.reason != "unsupported":
                raise
            self.end = "template"
            return None
        return replace(self.request, prompt=prompt)

    def whole(self) -> Generation:
        """The transcript as one answer, with the tokens of all."""
        answers, end = self.answers, self.end or "turns"
        transcript = Transcript(
            tuple(self.messages), end, self.renderer.form, len(self.episode.tools), self.episode.report()
        )
        finish = "refused" if end in ASKED_AGAIN else "length" if end in CUT_SHORT else "stop"
        return Generation(
            text=writable_text(transcript.to_json()),
            finish_reason="repetition" if end == "loop" else finish,
            prompt_tokens=sum(one.prompt_tokens for one in answers),
            output_tokens=sum(one.output_tokens for one in answers),
            cached_tokens=sum(one.cached_tokens for one in answers),
            latency_s=_total([one.latency_s for one in answers]),
            ttft_s=answers[0].ttft_s if answers else None,
            thinking="\n\n".join(one.thinking for one in answers if one.thinking) or None,
        )

    def _names(self) -> list[str]:
        return [str(tool["function"]["name"]) for tool in self.episode.tools]

    def _call(self, calls: Sequence[TranscriptCall]) -> int:
        """Make these calls until a limit is reached; returns how many were made."""
        self.n_unreadable = 0
        for number, call in enumerate(calls, start=1):
            self.n_same = self.n_same + 1 if call == self.latest else 1
            self.latest = call
            self.n_calls += 1
            content = self._result(call)
            self.messages.append(TranscriptMessage("tool", content, name=call.name[:80]))
            if self.end is not None:
                return number
            if self.n_same >= MOST_SAME or self.n_calls >= self.episode.limits.calls:
                self.end = "loop" if self.n_same >= MOST_SAME else "calls"
                return number
        return len(calls)

    def _result(self, call: TranscriptCall) -> str:
        try:
            return self.episode.call(call.name, call.arguments).content
        except EpisodeFailedError as error:
            self.end = "world"
            return str(error)

    def _ask_again(self, problem: str) -> None:
        self.n_unreadable += 1
        if self.n_unreadable >= MOST_UNREADABLE:
            self.end = "unparsed"
            return
        self.messages.append(TranscriptMessage("user", UNREADABLE.format(problem=problem)))

    def _reply(self) -> None:
        self.n_unreadable = 0
        reply = self.episode.reply()
        if reply is None:
            self.end = "done"
        else:
            self.messages.append(TranscriptMessage("user", reply))

    def _spent(self, answer: Generation) -> str | None:
        """The limit that is reached; None: none is."""
        budget, limits = self.request.max_output_tokens, self.episode.limits
        if len(self.answers) >= limits.turns:
            return "turns"
        if sum(one.output_tokens for one in self.answers) >= limits.budgets * budget:
            return "tokens"
        if self.n_context and answer.prompt_tokens + answer.output_tokens + budget > self.n_context:
            return "context"
        return None


Asked = tuple[OpenEpisode, GenerationRequest]


def play(
    engine: Engine, questions: Sequence[TaskQuestion], *, stop: Callable[[], bool]
) -> Iterator[tuple[int, Generation]]:
    """Yield the place of each question with its transcript as one answer, as soon as the episode is over.

    Raises:
        EngineError, UnreachableError: the engine died; episodes already yielded stay valid.
    """
    waiting = iter(enumerate(questions))
    n_context = engine.info.max_model_len
    running: list[OpenEpisode] = []
    while True:
        for place, question in islice(waiting, AT_ONCE - len(running)):
            running.append(_opened(place, question, n_context=n_context))
        asked = [(one, request) for one in running if (request := one.next_request()) is not None]
        for one in running:
            if one.end is not None:
                yield one.place, one.whole()
        if not asked:
            return
        for batch in _alike(asked):
            with closing(_stream(engine, [request for _, request in batch])) as stream:
                for number, answer in stream:
                    one = batch[number][0]
                    one.add(answer)
                    if one.end is not None:
                        yield one.place, one.whole()
                    if stop():
                        return
        running = [one for one, _ in asked if one.end is None]


def _alike(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """The requests in batches whose prompts are about as long: a long one would take the memory of many."""
    batch: list[Asked] = []
    for one in sorted(asked, key=lambda one: len(one[1].prompt)):
        if batch and len(one[1].prompt) > MOST_LONGER * len(batch[0][1].prompt):
            yield batch
            batch = []
        batch.append(one)
    yield batch


def _stream(engine: Engine, requests: Sequence[GenerationRequest]) -> Generator[tuple[int, Generation]]:
    yield from engine.generate(requests)


def _opened(place: int, question: TaskQuestion, *, n_context: int) -> OpenEpisode:
    assert question.episode is not None
    request = question.requests[0]
    assert isinstance(request, GenerationRequest)
    episode = question.episode.begin()
    messages = [TranscriptMessage("user", episode.first)]
    return OpenEpisode(place, request, question.episode.renderer, episode, n_context, messages)


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
