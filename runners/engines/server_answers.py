"""A server's JSON as our answers: streamed text with its thinking, and log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runners.engines import Continuation, ContinuationRequest, Generation
from runners.engines.thinking import MARKS
from tracker.codec import writable_text
from tracker.errors import EngineError, TransientError

MAX_COUNT = 1 << 40  # tokens of one answer: beyond what any server can have counted
OVERRUN = 2  # pieces per token asked for; servers send a token or more at once, seldom a part of one


@dataclass(slots=True)
class StreamedAnswer:
    """Collects the events of one streamed answer. A stop string inside the thinking does not count."""

    stop: Sequence[str]
    thinks: bool = False  # asked to think: before an end mark nothing is the answer
    text: str = ""  # as written, inline thinking included
    reasoning: str = ""  # what the server itself told apart
    finish_reason: str | None = None
    n_pieces: int = 0
    usage: Mapping[str, Any] = field(default_factory=dict)
    _searched: int = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event.

        Raises:
            EngineError: the server says in the stream that it failed.
        """
        if "error" in event:
            error = event["error"]
            words = error.get("message", error) if isinstance(error, dict) else error
            raise EngineError(
                f"the server failed while answering: {writable_text(str(words))}", reason="engine_died"
            )
        self.usage = event.get("usage") or self.usage
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            text = choice.get("text") or delta.get("content") or ""
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            self.text += text
            self.reasoning += thought
            self.n_pieces += bool(text or thought)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def is_stopped(self) -> bool:
        """Whether a stop string stands in the answer so far."""
        if not self.stop or self.text[self._searched :] == "":
            return False
        start = max(0, self._searched - max(map(len, self.stop)))
        self._searched = len(self.text)
        if not any(stop in self.text[start:] for stop in self.stop if stop):
            return False
        _, answer = self._parts(is_whole=False)
        return any(stop in answer for stop in self.stop if stop)

    def overruns(self, max_output_tokens: int) -> bool:
        """Whether far more was written than asked for; such an answer counts as cut off."""
        if self.n_pieces <= OVERRUN * max_output_tokens:
            return False
        self.finish_reason = "length"
        return True

    def generation(self, *, latency_s: float, ttft_s: float | None) -> Generation:
        """The whole answer.

        Raises:
            TransientError: the stream broke off before its end.
            ValueError: a count of tokens is none.
        """
        thinking, answer = self._parts(is_whole=True)
        places = [place for stop in self.stop if stop and (place := answer.find(stop)) >= 0]
        if self.finish_reason is None and not places:
            raise TransientError("the server broke off in the middle of an answer")
        cut_off = self.finish_reason == "length" and not places
        details = self.usage.get("prompt_tokens_details") or {}
        return Generation(
            text=writable_text(answer[: min(places)] if places else answer),
            finish_reason="length" if cut_off else "stop",
            prompt_tokens=_count(self.usage.get("prompt_tokens")),
            output_tokens=_count(self.usage.get("completion_tokens") or self.n_pieces),
            cached_tokens=_count(details.get("cached_tokens")),
            latency_s=latency_s,
            ttft_s=ttft_s,
            thinking=writable_text(thinking) or None,
        )

    def _parts(self, *, is_whole: bool) -> tuple[str, str]:
        """Thinking and answer. Servers without a parser for it leave the thinking in the text."""
        if self.reasoning:
            return self.reasoning.strip(), self.text
        for start, end in MARKS:
            before, found, after = self.text.partition(end)
            if found:
                return before.replace(start, "").strip(), after.lstrip()
            if self.text.lstrip().startswith(start):
                return self.text.replace(start, "").strip(), ""
        if self.thinks and not is_whole:
            return self.text, ""
        return "", self.text


def _count(value: object) -> int:
    """A number of tokens as a server tells it; 0 where it tells none.

    Raises:
        ValueError: it is no such number.
    """
    if value is None:
        return 0
    if not isinstance(value, int | float) or not 0 <= value <= MAX_COUNT:
        raise ValueError("a count of tokens is out of range")
    return int(value)


def continuation(
    answer: Mapping[str, Any], request: ContinuationRequest, *, n_context: int | None = None
) -> Continuation | None:
    """How probable the continuation is, from an echoed prompt with log-probabilities and one token more.

    Its tokens are the last ones whose texts together hold it. None if the texts do not spell it (a character
    can be several tokens): then the caller finds out `n_context`, the number of tokens before it. A token
    that reaches back into the context counts as the continuation's.

    Raises:
        EngineError: the continuation begins the text, and nothing is told of a text's first token.
    """
    log_probs = answer["choices"][0]["logprobs"]
    n_written = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    n_prompt = len(log_probs["tokens"]) - n_written
    tokens = [str(token) for token in log_probs["tokens"][:n_prompt]]
    first = n_context
    if first is None:
        if not "".join(tokens).endswith(request.continuation):
            return None
        first, length = n_prompt, 0
        while length < len(request.continuation):
            first -= 1
            length += len(tokens[first])
    if first == n_prompt:
        return None
    places = range(first, n_prompt)
    values = [log_probs["token_logprobs"][place] for place in places]
    tops = [log_probs["top_logprobs"][place] or {} for place in places]
    if None in values:
        message = "the server does not tell how probable the first token of a text is"
        hint = "a choice without a context needs another engine"
        raise EngineError(message, reason="unsupported", hint=hint)
    details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
    return Continuation(
        log_prob=float(sum(values)),
        is_greedy=all(
            value >= max(top.values(), default=value) for value, top in zip(values, tops, strict=True)
        ),
        prompt_tokens=first,
        output_tokens=n_prompt - first,
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def has_prompt_log_probs(answer: Mapping[str, Any]) -> bool:
    """Whether the answer to an echoed prompt of several tokens tells how probable each of them was."""
    choices = answer.get("choices") or [{}]
    log_probs = choices[0].get("logprobs") or {}
    n_written = int((answer.get("usage") or {}).get("completion_tokens") or 1)
    values = (log_probs.get("token_logprobs") or [])[:-n_written]
    has_tops = len(log_probs.get("top_logprobs") or ()) == len(log_probs.get("tokens") or ())
    return has_tops and len(values) > 1 and all(isinstance(value, int | float) for value in values[1:])
