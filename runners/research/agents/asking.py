"""Queries to an engine: growing token budgets, the limit of the context, the recorded exchanges.

A model that thinks may need 16 to 32 thousand tokens; one that does not is cut off early. An answer that was
cut off is requested again with a larger budget while the context has room.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runners.engines import Engine, Generation, GenerationRequest
from runners.research.agents.prompting import Message
from tracker.errors import EngineError, UnreachableError
from tracker.records.studies import Exchange

# tokens of one answer, thinking included; autoresearch-unified: 2,048 lost up to 30 of 100 answers of models
# that think, and 16 to 32 thousand were needed
BUDGETS = (1024, 8192, 32_768)
THINKING_BUDGETS = (16_384, 32_768)  # of a model that was told to think
TEMPERATURE = 0.8  # so that another slot gets another answer
REPEAT_TEMPERATURE = 0.2  # more for each of the last trials in a row that repeated another
MAX_TEMPERATURE = 1.4  # above this, small models write no JSON any more
TOP_P = 0.95
UNKNOWN_CONTEXT = 8192  # tokens; of a server that does not say
CHARS_PER_TOKEN = 2.4  # of our prompts with SmolLM2, which reads every digit by itself: 2.7
ANSWER_SHARE = 1 / 4  # of a short context that is kept for the answer
MARGIN_TOKENS = 64  # for what the chat template adds
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ModelQuery:
    """One query: its messages and every answer so far."""

    messages: list[Message]
    seed: int
    schema: Mapping[str, Any] | None = None
    temperature: float = TEMPERATURE
    exchanges: list[Exchange] = field(default_factory=list)
    answer: str = ""

    def ask_again(self, messages: list[Message]) -> None:
        """Continue with these messages and another seed."""
        self.messages = messages
        self.seed += 1


class ModelDialog:
    """Asks an engine; remembers only that it cannot keep to a schema."""

    def __init__(self, engine: Engine, *, is_server: bool, thinking: bool | None) -> None:
        """Ask `engine`; what fails on a server counts as an outage."""
        self._engine = engine
        self._is_server = is_server
        self._budgets = THINKING_BUDGETS if thinking else BUDGETS
        self._keeps_schema = True

    @property
    def max_prompt_chars(self) -> int:
        """How long a prompt may be."""
        context = self._context
        answer = min(self._budgets[0], int(context * ANSWER_SHARE))
        return int((context - answer - MARGIN_TOKENS) * CHARS_PER_TOKEN)

    def ask(self, questions: Sequence[ModelQuery]) -> None:
        """Answer each question, all at once; what was cut off again with a larger budget.

        Raises:
            UnreachableError: the server is out of reach, or failed.
            EngineError: the model failed, or its context is too short.
        """
        waiting = list(questions)
        for budget in self._budgets:
            waiting = [
                question
                for question, answer in zip(waiting, self._answers(waiting, budget), strict=True)
                if self._is_cut_off(question, answer)
            ]
            if not waiting or budget >= self._context:
                return

    def _is_cut_off(self, question: ModelQuery, answer: Generation) -> bool:
        """Whether more room may help: text within a schema that did not end by then never ends."""
        is_kept = question.schema is not None and self._keeps_schema and not answer.thinking
        return answer.finish_reason == "length" and not (is_kept and answer.text)

    def _answers(self, questions: Sequence[ModelQuery], budget: int) -> list[Generation]:
        """One answer each, written down."""
        requests = [self._request(question, budget) for question in questions]
        found = self._generated(requests)
        for question, answer in zip(questions, found, strict=True):
            # a server whose parser found no end of the thinking calls all of it thinking
            is_all_thinking = not answer.text.strip() and answer.finish_reason == "stop"
            question.answer = (answer.thinking or "") if is_all_thinking else answer.text
            question.exchanges.append(_exchange(question.messages, answer))
        return found

    def _request(self, question: ModelQuery, budget: int) -> GenerationRequest:
        prompt = self._prompt(question.messages)
        room = self._context - int(len(prompt) / CHARS_PER_TOKEN) - MARGIN_TOKENS
        return GenerationRequest(
            prompt=prompt,
            max_output_tokens=max(1, min(budget, room)),
            temperature=question.temperature,
            top_p=TOP_P,
            seed=question.seed,
            json_schema=question.schema if self._keeps_schema else None,
        )

    def _prompt(self, messages: Sequence[Message]) -> str:
        """In the model's chat template; a model without one gets the bare texts."""
        try:
            return self._engine.chat_prompt(messages)
        except EngineError as error:
            if error.reason != "unsupported":
                raise
            return "\n\n".join(message["content"] for message in messages) + "\n\n"

    def _generated(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        n_cut = self._engine.cut_requests
        try:
            found = dict(self._engine.generate(requests))
        except EngineError as error:
            if error.reason == "unsupported" and any(request.json_schema for request in requests):
                _log.warning("answers are not constrained to a schema: %s", error)
                self._keeps_schema = False
                return self._generated([replace(request, json_schema=None) for request in requests])
            if self._is_server and error.reason == "engine_died":
                raise UnreachableError(str(error), hint=error.hint) from error
            raise
        if self._engine.cut_requests > n_cut:
            message = f"the model's context of {self._context} tokens is too short for the prompt"
            raise EngineError(message, reason="unsupported", hint="use a model with a longer context")
        return [found[place] for place in range(len(requests))]

    @property
    def _context(self) -> int:
        return self._engine.info.max_model_len or UNKNOWN_CONTEXT


def temperature_after(n_repeats: int) -> float:
    """The temperature after so many repetitions in a row: a model that repeats itself is made to stop."""
    return min(MAX_TEMPERATURE, TEMPERATURE + REPEAT_TEMPERATURE * n_repeats)


def question_seed(seed: int, slot: int, place: int) -> int:
    """A seed for the answer to one question: another one for every slot, the same after a resume."""
    return random.Random(f"{seed}/{slot}/{place}").getrandbits(31)


def _exchange(messages: Sequence[Message], answer: Generation) -> Exchange:
    return Exchange(
        prompt=json.dumps(list(messages), ensure_ascii=False),
        reply=answer.text,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        finish_reason=answer.finish_reason,
        latency_s=answer.latency_s or 0.0,
        thinking=answer.thinking,
    )
