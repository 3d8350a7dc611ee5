"""The agents that propose changes: one protocol, one registry, one file per agent.

An agent from another package needs no line here: an entry point of the group below, or
`package.module:Class`. What a face must know of it stands in the attribute `facts` of its class.

An agent keeps nothing between two calls. All it knows is in the `Ask`, and what it draws at random depends
on the study's seed and the slot alone, so that a study that was killed goes on exactly as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tracker.errors import TrackerError, UsageError
from tracker.extensions import Registry
from tracker.records.studies import (
    Change,
    Loop,
    Proposal,
    Study,
    Track,
    Trial,
)

if TYPE_CHECKING:
    from runners.research.problem.tiers import Tier
    from runners.research.problem.tunables import Tunable


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """All that a face needs to know of an agent before it is opened."""

    tracks: tuple[Track, ...] = (Track.PARAMS,)  # on which it can work
    needs_model: bool = False  # it is named by its model
    needs_proposals: bool = False  # it reads a file that the user gives
    is_served: bool = False  # somebody else proposes, through the tools of `tracker research serve`
    is_optimizer: bool = False  # it can propose the trials of a hybrid that the model does not override
    needs_package: str | None = None  # of an extra; None: it works in every installation


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """One of our own agents."""

    place: str  # `package.module:Class`, imported only when it is opened
    facts: AgentFacts


_ALL_TRACKS = tuple(Track)
_BUILT_IN = {
    "model": _BuiltIn(
        "runners.research.agents.model:ModelAgent",
        AgentFacts(tracks=_ALL_TRACKS, needs_model=True),
    ),
    "random": _BuiltIn(
        "runners.research.agents.optuna_agents:RandomAgent",
        AgentFacts(needs_package="optuna"),
    ),
    "tpe": _BuiltIn(
        "runners.research.agents.optuna_agents:TpeAgent",
        AgentFacts(needs_package="optuna", is_optimizer=True),
    ),
    "cma": _BuiltIn(
        "runners.research.agents.cma:CmaAgent",
        AgentFacts(needs_package="optuna", is_optimizer=True),
    ),
    "scripted": _BuiltIn(
        "runners.research.agents.scripted:ScriptedAgent",
        AgentFacts(tracks=_ALL_TRACKS, needs_proposals=True),
    ),
    "served": _BuiltIn(
        "runners.research.tools.served:ServedAgent",
        AgentFacts(tracks=(Track.PARAMS, Track.CODE), is_served=True),
    ),
}
AGENTS = Registry(
    "agent",
    group="open_weight_tracker.agents",
    built_in={name: agent.place for name, agent in _BUILT_IN.items()},
)
TOOL_LOOP = "runners.research.tools.loop:ToolLoopAgent"  # the agent `model` with the loop of that name
HYBRID = "runners.research.agents.hybrid:HybridAgent"  # the agent `model` on the track of that name


def agent_facts(name: str) -> AgentFacts:
    """The facts of the agent of that name, or of `package.module:Class`.

    Raises:
        UnknownNameError: there is none.
        TrackerError: it cannot be imported.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name].facts
    facts = getattr(AGENTS.load(name), "facts", AgentFacts())
    if not isinstance(facts, AgentFacts):
        message = f"agent `{name}`: the attribute `facts` of its class must be an `AgentFacts`"
        raise TrackerError(message, hint="see `AgentFacts` in `runners/research/agents/__init__.py`")
    return facts


def agents_without_model() -> list[str]:
    """The names of the agents that are not named by a model; imports none of them."""
    unnamed = [n for n, agent in _BUILT_IN.items() if agent.facts.needs_model or agent.facts.is_served]
    return [name for name in AGENTS if name not in unnamed]


def optimizers() -> list[str]:
    """The names of our own agents that can propose in a hybrid; those of other packages can say so too."""
    return [name for name, agent in _BUILT_IN.items() if agent.facts.is_optimizer]


def check_track(name: str, track: Track) -> None:
    """Refuse an agent that cannot work on the track.

    Raises:
        UsageError: it cannot.
        UnknownNameError: there is no such agent.
    """
    tracks = agent_facts(name).tracks
    if track not in tracks:
        allowed = " and ".join(f"`{each}`" for each in tracks)
        raise UsageError(
            f"agent `{name}` cannot work on the track `{track}`, only on {allowed}",
            hint=f"--track {tracks[0]}",
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """Everything an agent may know when it proposes."""

    study: Study
    tier: Tier
    space: Sequence[Tunable]
    incumbent: Change  # the best that was accepted so far; the tier's defaults at first
    incumbent_bpb: Mapping[str, float]  # split → bits per byte; an agent is shown `val` alone
    # in the order of their slots, placebos left out; without seeds and numbers of `select`
    history: tuple[Trial, ...]
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
    check_track(kind, study.track)
    place = kind
    if agent_facts(kind).needs_model:
        is_hybrid = study.track is Track.HYBRID
        place = HYBRID if is_hybrid else TOOL_LOOP if study.agent.loop is Loop.TOOLS else kind
    return cast(AgentClass, AGENTS.load(place))(study, folder)
