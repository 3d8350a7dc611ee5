"""A language model as the agent: any engine, any OpenAI-compatible server, or vLLM started for it.

What it answers is used or refused, never replaced: an answer that cannot be used gets one repair turn, then
the trial is invalid. A server out of reach pauses the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from runners.engines import Engine, engine_spec, open_engine
from runners.research.agents import Ask
from runners.research.agents.asking import ModelDialog, ModelQuery, question_seed, temperature_after
from runners.research.agents.history import change_key, trailing_repeats
from runners.research.agents.identity import check_served
from runners.research.agents.parse_change import Read, read_change
from runners.research.agents.prompting import (
    OptimizerSuggestion,
    answer_schema,
    prompt_messages,
    repair_messages,
)
from tracker.errors import EngineError, UsageError
from tracker.records import EngineSettings, Model
from tracker.records.studies import Proposal, Study

NAME = "model"


class StartedServer(Protocol):
    """A server that was started for one study."""

    settings: EngineSettings  # of the engine that asks it

    def check_still_there(self) -> None:
        """Raise UnreachableError if it has died."""
        ...

    def close(self) -> None:
        """End it and all that it started."""
        ...


class StudyServer(Protocol):
    """How an engine is started as a server that leaves room for the trainings of a study."""

    def __call__(self, model: Model, settings: EngineSettings, *, tier: str, log_path: Path) -> StartedServer:
        """Start it, and return when it answers."""
        ...


class ModelAgent:
    """Asks a model for each proposal, and once more where the answer cannot be used."""

    def __init__(self, study: Study, folder: Path) -> None:
        """Load the model, start its server or find it on the server that is named.

        Raises:
            UsageError: the study names no model.
            EngineError: it cannot be loaded.
            UnreachableError: its server does not answer.
            TrackerError: the server serves another model than the study was begun with.
        """
        spec = study.agent
        if spec.model is None or spec.settings is None:
            raise UsageError(
                "agent `model` needs a model", hint="use `--agent MODEL`, for example `--agent demo`"
            )
        self._model: Model = spec.model
        self._settings: EngineSettings = spec.settings
        self._folder = folder
        self._server: StartedServer | None = None
        engine = engine_spec(spec.settings.engine)
        if engine.study_server is not None:
            start: StudyServer = engine.load(engine.study_server)
            log_path = folder / f"{engine.name}.log"
            self._server = start(spec.model, spec.settings, tier=study.tier, log_path=log_path)
            self._settings = self._server.settings
        self._is_served = not engine_spec(self._settings.engine).loads_weights
        self._engine = self._open()

    def propose(self, ask: Ask, *, suggestions: Sequence[OptimizerSuggestion] = ()) -> Sequence[Proposal]:
        """One proposal per question; `suggestions`: an optimizer's, one for each.

        Raises:
            UnreachableError: the model's server is out of reach, or the one that was started has died.
            TrackerError: another model answers now.
            EngineError: the model failed, or its context is too short.
        """
        self._look_again()
        asking = ModelDialog(
            self._engine,
            is_server=self._is_served,
            thinking=self._settings.thinking,
        )
        offered: list[OptimizerSuggestion | None] = [*suggestions] or [None] * ask.k
        questions = [self._question(asking, ask, place, offer) for place, offer in enumerate(offered)]
        asking.ask(questions)
        problems = [_problem(q, ask, offer) for q, offer in zip(questions, offered, strict=True)]
        again = [(q, problem) for q, problem in zip(questions, problems, strict=True) if problem]
        for question, problem in again:
            question.ask_again(repair_messages(question.messages, question.answer, problem, ask))
        asking.ask([question for question, _ in again])
        return _distinct([_proposal(q, ask, offer) for q, offer in zip(questions, offered, strict=True)])

    def close(self) -> None:
        """Give the memory back; end the server that was started."""
        self._engine.close()
        if self._server is not None:
            self._server.close()

    def _open(self) -> Engine:
        try:
            engine = open_engine(self._model, self._settings)
            if self._server is None and self._is_served:
                check_served(engine.info, self._folder)
        except BaseException:
            if self._server is not None:
                self._server.close()
            raise
        return engine

    def _look_again(self) -> None:
        """Ask the server once more what it is: it may have been started again with another model."""
        if self._server is not None:
            self._server.check_still_there()
        elif self._is_served:
            self._engine.close()
            self._engine = self._open()

    def _question(
        self, asking: ModelDialog, ask: Ask, place: int, offer: OptimizerSuggestion | None
    ) -> ModelQuery:
        messages = prompt_messages(ask, max_chars=asking.max_prompt_chars, suggestion=offer)
        if messages is None:
            message = f"the context of `{self._model.model_id}` is too short for the shortest prompt"
            raise EngineError(message, reason="unsupported", hint="use a model with a longer context")
        # A server that is told to think and cannot tell thinking apart would keep that to the schema too.
        thinks_elsewhere = self._settings.thinking is True and self._is_served
        is_free = thinks_elsewhere and self._server is None
        schema = None if is_free else answer_schema(ask, may_be_empty=offer is not None)
        temperature = temperature_after(len(trailing_repeats(ask.history)))
        return ModelQuery(messages, question_seed(ask.study.seed, ask.slot, place), schema, temperature)


def _problem(question: ModelQuery, ask: Ask, offer: OptimizerSuggestion | None) -> ValueError | None:
    """Why the answer cannot be used; None if it can."""
    try:
        _read(question, ask, offer)
    except ValueError as error:
        return error
    return None


def _read(question: ModelQuery, ask: Ask, offer: OptimizerSuggestion | None) -> Read:
    last = question.exchanges[-1]
    try:
        return read_change(question.answer, ask, suggestion=offer.proposal if offer else None)
    except ValueError as error:
        if last.finish_reason == "length":
            raise ValueError(f"the answer was cut off after {last.output_tokens} tokens") from error
        raise


def _proposal(question: ModelQuery, ask: Ask, offer: OptimizerSuggestion | None) -> Proposal:
    exchanges = tuple(question.exchanges)
    try:
        read = _read(question, ask, offer)
    except ValueError as error:
        return Proposal(None, proposer=NAME, problem=str(error), exchanges=exchanges)
    proposer = offer.proposal.proposer if offer is not None and read.is_suggestion else NAME
    return Proposal(
        read.change,
        rationale=read.rationale,
        proposer=proposer,
        diff=read.diff,
        exchanges=exchanges,
        notes=read.notes,
    )


def _distinct(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Without those that repeat an earlier one of the wave; their exchanges go to that one."""
    found: dict[object, Proposal] = {}
    for place, proposal in enumerate(proposals):
        key = place if proposal.change is None else change_key(proposal.change)
        if key in found:
            found[key] = replace(found[key], exchanges=found[key].exchanges + proposal.exchanges)
        else:
            found[key] = proposal
    return list(found.values())
