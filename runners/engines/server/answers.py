"""Parse a server's JSON into our answers: streamed text with its thinking, and log-probabilities."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runners.engines import Continuation, ContinuationRequest, Generation
from runners.engines.server.api import FailedServerError
from runners.engines.thinking import split_thinking
from runners.engines.tool_calls import served_calls
from tracker.errors import EngineError, TransientError
from tracker.records import CUT_OFF
from tracker.redaction import masked, without_known_secrets
from tracker.serialization import writable_text

MAX_WORDS = 300  # characters of a server's own message in ours
ROUNDING = 1e-3  # nats above 0 that a log-probability may have
NO_LETTER = re.compile(r"[^A-Za-z]")  # what stands for a space depends on the tokenizer
MAX_COUNT = 1 << 40  # tokens of one answer: larger counts are not plausible
# Reasons in the words of other servers: of an answer that was cut off, and of one that broke off.
CUT_REASONS = (
    "length", "max_tokens", "max_length", "max_output_tokens", "max_new_tokens", "model_length", "incomplete",
)  # fmt: skip
FAILED_REASONS = (
    "error", "abort", "aborted", "cancel", "canceled", "cancelled", "failed", "timeout", "interrupted",
    "network_error", "insufficient_system_resource", "engine_overloaded", "overloaded",
)  # fmt: skip
THINKING_PARTS = ("thinking", "reasoning", "reasoning_content")  # types of a part of a message
OVERRUN = 2  # pieces per requested token; servers send one or more tokens at once, rarely part of one


@dataclass(slots=True)
class StreamedAnswer:
    """Collects the events of one streamed answer. A stop string inside the thinking does not count."""

    stop: Sequence[str]
    thinks: bool = False  # thinking was requested: the answer starts after an end mark
    split: Callable[[str], tuple[str | None, str]] | None = None  # thinking and answer, of a known model
    text: str = ""  # as generated, including inline thinking
    reasoning: str = ""  # thinking that the server itself separated
    finish_reason: str | None = None
    n_pieces: int = 0
    usage: Mapping[str, Any] = field(default_factory=dict)
    is_done: bool = False  # the server marked the end of the stream
    calls: dict[int, tuple[str, str]] = field(default_factory=dict)  # by place: the name and its arguments
    _searched: int = 0
    _index: int | None = None  # of the choice that is followed

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one event.

        Raises:
            FailedServerError: the server reports a failure in the stream.
            AttributeError, TypeError: it is no event of the API.
        """
        if (said := _failure(event)) is not None:
            words = masked(writable_text(said))[:MAX_WORDS]
            raise FailedServerError(f"the server failed while answering: {words}")
        usage = event.get("usage")
        self.usage = usage if isinstance(usage, dict) and usage else self.usage
        choice = self._followed(event.get("choices") or ())
        if choice is not None:
            delta = choice.get("delta") or (choice.get("message") if "delta" not in choice else None) or {}
            thought, text = _parts_of(choice.get("text") or delta.get("content") or "")
            thought += next(filter(None, map(delta.get, ("reasoning_content", "reasoning", "thinking"))), "")
            has_calls = self._add_calls(delta.get("tool_calls") or ())
            self.text += text
            self.reasoning += thought
            self.n_pieces += bool(text or thought or has_calls)
            self.finish_reason = _reason(choice.get("finish_reason")) or self.finish_reason

    def _followed(self, choices: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The choice that is the answer, however many a server sends: the first of the first event."""
        if self._index is None and choices:
            self._index = min(map(_index_of, choices))
        return next((one for one in choices if _index_of(one) == self._index), None)

    def _add_calls(self, pieces: Sequence[Mapping[str, Any]]) -> bool:
        """Add pieces of tool calls: each has its place, and the next part of its arguments."""
        for number, piece in enumerate(pieces):
            place, function = piece.get("index"), piece.get("function") or {}
            place = place if isinstance(place, int) else number
            name, arguments = self.calls.get(place, ("", ""))
            more = function.get("arguments") or ""
            more = more if isinstance(more, str) else json.dumps(more)
            self.calls[place] = (name + str(function.get("name") or ""), arguments + more)
        return bool(pieces)

    def is_stopped(self) -> bool:
        """Whether the answer so far contains a stop string."""
        if not self.stop or self.text[self._searched :] == "":
            return False
        start = max(0, self._searched - max(map(len, self.stop)))
        self._searched = len(self.text)
        if not any(stop in self.text[start:] for stop in self.stop if stop):
            return False
        _, answer = self._parts(is_whole=False)
        return any(stop in answer for stop in self.stop if stop)

    def overruns(self, max_output_tokens: int) -> bool:
        """Whether the server sent far more than requested; such an answer counts as cut off."""
        if self.n_pieces <= OVERRUN * max_output_tokens:
            return False
        self.finish_reason = "length"
        return True

    def generation(
        self, *, latency_s: float, ttft_s: float | None, max_output_tokens: int | None = None
    ) -> Generation:
        """The complete answer; one whose end has no reason was cut off if it has `max_output_tokens`.

        Raises:
            TransientError: the stream ended early.
        """
        thinking, answer = self._parts(is_whole=True)
        places = [place for stop in self.stop if stop and (place := answer.find(stop)) >= 0]
        n_tokens = _count(self.usage.get("completion_tokens")) or self.n_pieces
        if self.finish_reason in FAILED_REASONS and not places:
            raise FailedServerError(
                f"the server broke off an answer (`{self.finish_reason}`)", hint="check the server's log"
            )
        if self.finish_reason is None and not places:
            if not self.is_done or not (self.n_pieces or self.usage):
                raise TransientError("the server ended the stream in the middle of an answer")
            is_full = max_output_tokens is not None and n_tokens >= max_output_tokens
            self.finish_reason = "length" if is_full else "stop"
        cut_off = self.finish_reason if self.finish_reason in CUT_OFF and not places else None
        details = self.usage.get("prompt_tokens_details")
        return Generation(
            text=without_known_secrets(writable_text(answer[: min(places)] if places else answer)),
            finish_reason=cut_off or "stop",
            prompt_tokens=_count(self.usage.get("prompt_tokens")),
            output_tokens=n_tokens,
            cached_tokens=_count(details.get("cached_tokens") if isinstance(details, dict) else None),
            latency_s=latency_s,
            ttft_s=ttft_s,
            thinking=without_known_secrets(writable_text(thinking)) or None,
            tool_calls=served_calls(self.calls),
        )

    def _parts(self, *, is_whole: bool) -> tuple[str, str]:
        """Split off the thinking, which servers without a reasoning parser leave in the text."""
        if self.reasoning:
            return self.reasoning.strip(), self.text
        if self.split is not None:
            thinking, answer = self.split(self.text)
            return thinking or "", answer
        thinking, answer = split_thinking(self.text, is_open=self.thinks and not is_whole)
        return thinking or "", answer


def _failure(event: Mapping[str, Any]) -> str | None:
    """The server's words in an event that reports a failure; None: it reports none."""
    first = next(iter(event.get("choices") or ()), None)
    of_choice = first.get("error") if isinstance(first, Mapping) else None
    error = event.get("error") or event.get("errors") or of_choice
    is_named = "error" in (event.get("object"), event.get("type"), event.get("status"))
    if not error and not is_named and (event.get("choices") or "choices" in event):
        return None
    is_failed = is_named or event.get("code") not in (None, 0, 200)
    error = error or (event.get("message") if is_failed else None) or event.get("detail")
    if not error:
        return "it does not say why" if is_named else None
    error = error[0] if isinstance(error, list) and error else error
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _reason(said: Any) -> str | None:
    """Why an answer ended, in our words where it was cut off; None: not said."""
    if isinstance(said, Mapping):  # SGLang's own form
        said = said.get("type")
    if not isinstance(said, str):
        return "stop" if said else None
    word = said.strip().lower()
    return "length" if word in CUT_REASONS else word or None


def _index_of(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _parts_of(content: Any) -> tuple[str, str]:
    """Thinking and text of a piece: a text, or a list of parts of either kind, as Mistral's API sends it."""
    if isinstance(content, str):
        return "", content
    thought, text = "", ""
    for part in [content] if isinstance(content, dict) else content:
        if isinstance(part, str):
            text += part
        elif part.get("type") in THINKING_PARTS or "thinking" in part:
            inner = next(filter(None, map(part.get, (*THINKING_PARTS, "text"))), "")
            thought += inner if isinstance(inner, str) else "".join(one.get("text") or "" for one in inner)
        else:
            text += part.get("text") or ""
    return thought, text


def _count(value: object) -> int:
    """A token count reported by a server; 0 if it reports none, or none that is plausible."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_COUNT else 0


def continuation(
    answer: Mapping[str, Any], request: ContinuationRequest, *, n_context: int | None = None
) -> Continuation | None:
    """Score a continuation from an echoed prompt with log-probabilities and one more token.

    Its tokens are the last ones whose joined texts contain it. None if the texts do not match it (a character
    can be several tokens): then the caller must provide `n_context`, the number of tokens before it. A token
    that overlaps the context counts as part of the continuation.

    Raises:
        EngineError: there is no context, and the server gives no log-probability of a text's first token.
    """
    log_probs = answer["choices"][0]["logprobs"]
    tokens = [str(token) for token in log_probs["tokens"]]
    n_prompt = _n_prompt(tokens, answer.get("usage") or {}, request.continuation)
    tokens = tokens[:n_prompt]
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
        message = "the server gives no log-probability for the first token of a text"
        hint = "use another engine for texts without a context"
        raise EngineError(message, reason="unsupported", hint=hint)
    details = (answer.get("usage") or {}).get("prompt_tokens_details") or {}
    are_possible = all(value <= ROUNDING for value in values)
    return Continuation(
        log_prob=float(sum(values)) if are_possible else math.nan,
        is_greedy=all(
            value >= max(top.values(), default=value) for value, top in zip(values, tops, strict=True)
        ),
        prompt_tokens=first,
        output_tokens=n_prompt - first,
        cached_tokens=_count(details.get("cached_tokens")),
    )


def _n_prompt(tokens: Sequence[str], usage: Mapping[str, Any], continuation: str) -> int:
    """How many of the tokens are the prompt's: all but the one that was written, which some do not list.

    Counts of servers differ in whether they include special tokens, so the texts decide between them.
    """
    n_all, n_written = len(tokens), _count(usage.get("completion_tokens"))
    n_counted = _count(usage.get("prompt_tokens"))
    likely = [n_all - n_written] if n_written else []
    likely += [n_counted] if n_all - 1 <= n_counted <= n_all else []
    likely += [n_all - 1, n_all]
    return next((n for n in likely if "".join(tokens[:n]).endswith(continuation)), likely[0])


def has_prompt_log_probs(answer: Mapping[str, Any], prompt: str) -> bool:
    """Whether the answer to the echoed `prompt`, of plain words, has the log-probabilities of its tokens."""
    choices = answer.get("choices") or [{}]
    log_probs = choices[0].get("logprobs") or {}
    n_written = _count((answer.get("usage") or {}).get("completion_tokens")) or 1
    values = (log_probs.get("token_logprobs") or [])[:-n_written]
    has_tops = len(log_probs.get("top_logprobs") or ()) == len(log_probs.get("tokens") or ())
    echoed = "".join(map(str, log_probs.get("tokens") or ()))
    has_tops = has_tops and NO_LETTER.sub("", prompt) in NO_LETTER.sub("", echoed)  # some ignore `echo`
    return has_tops and len(values) > 1 and all(isinstance(value, int | float) for value in values[1:])
