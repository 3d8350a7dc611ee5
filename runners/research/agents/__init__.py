"""Who proposes: one protocol, one file per kind of agent.

An agent keeps nothing between two calls. All it knows is in the `Ask`, and what it draws at random depends
on the study's seed and the slot alone, so that a study that was killed goes on exactly as it would have.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tracker.errors import UnknownNameError, UsageError
from tracker.studies import Change, Proposal, Study, Track, Trial

if TYPE_CHECKING:
    from runners.research.space import Tunable
    from runners.research.tiers import Tier

AGENTS = {
    "model": "runners.research.agents.model:ModelAgent",
    "random": "runners.research.agents.optuna_agents:RandomAgent",
    "tpe": "runners.research.agents.optuna_agents:TpeAgent",
    "cma": "runners.research.agents.cma:CmaAgent",
    "scripted": "runners.research.agents.scripted:ScriptedAgent",
}
HYBRID = "runners.research.agents.hybrid:HybridAgent"  # what `model` is on the track of that name
NUMBERS_ONLY = ("random", "tpe", "cma")  # these know nothing of a script
OPTIMISERS = ("tpe", "cma")  # a hybrid's


@dataclass(frozen=True, slots=True)
class Ask:
    """Everything an agent may know when it proposes."""

    study: Study
    tier: Tier
    space: Sequence[Tunable]
    incumbent: Change  # the best that was accepted so far; the tier's defaults at first
    incumbent_bpb: Mapping[str, float]  # split → bits per byte; an agent is shown `val` alone
    history: tuple[Trial, ...]  # in the order of their slots, placebos left out
    slot: int  # of the first proposal asked for
    n_left: int  # of the agent's trials, these included
    k: int = 1  # proposals asked for at once
    script: str = ""  # code track: the incumbent's whole script
    baseline_bpb: Mapping[str, float] = field(default_factory=dict)  # the tier's defaults, by split


class Agent(Protocol):
    """Proposes. Constructed as `Class(study, folder)`; `folder` is the study's, for logs."""

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """At most `ask.k` proposals; one that could not be read is among them, with its problem.

        Raises:
            UnreachableError: the model is out of reach; the study pauses and nothing is lost.
            TrackerError: it cannot go on: another model answers now, or the model failed for good.
        """
        ...

    def close(self) -> None:
        """Give back what is held; end what was started."""
        ...


class AgentClass(Protocol):
    """How an agent is made."""

    def __call__(self, study: Study, folder: Path) -> Agent:
        """Load or start what it needs."""
        ...


def open_agent(study: Study, folder: Path) -> Agent:
    """The agent that `study` names, ready to propose; `folder` is the study's.

    Raises:
        UnknownNameError: there is no such agent.
        UsageError: it cannot work on the study's track.
        EngineError: its model could not be loaded.
        UnreachableError: its server does not answer.
    """
    kind = study.agent.kind
    place = AGENTS.get(kind)
    if place is None:
        raise UnknownNameError("agent", kind, known=AGENTS)
    if study.track is Track.CODE and kind in NUMBERS_ONLY:
        raise UsageError(f"agent `{kind}` cannot write code", hint="--track params")
    if study.track is Track.HYBRID and kind in NUMBERS_ONLY:
        hint = "`--track params` for the optimiser alone"
        raise UsageError(f"agent `{kind}` is no model: the track `hybrid` needs one", hint=hint)
    if study.track is Track.HYBRID and kind == "model":
        place = HYBRID
    module_name, _, class_name = place.partition(":")
    return cast(AgentClass, getattr(importlib.import_module(module_name), class_name))(study, folder)
