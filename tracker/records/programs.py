"""Records of a search for better instructions: versions of `program.md`, their studies and verdicts.

A score is a study's confirmed gain in bits per byte on `test`; tokens are those of the study's agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import fmean

from tracker.records import EngineSettings
from tracker.records.studies import AgentSpec


class SearchStatus(StrEnum):
    """The state of a search."""

    RUNNING = "running"
    COMPLETE = "complete"


class ProgramVerdict(StrEnum):
    """The outcome of one version."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"  # an earlier version has the same words
    INVALID = "invalid"  # no program was proposed, or one without its placeholders


@dataclass(frozen=True, slots=True)
class ProgramVersion:
    """One `program.md`: number 0 is the one that the search begins with."""

    version: int
    text: str  # a template, with the placeholders of the limits
    rationale: str = ""
    proposer: str = ""
    is_placebo: bool = False  # the best so far against itself under other seeds: must not be accepted
    problem: str | None = None  # why it cannot be tried
    reply: str | None = None  # the answer of its proposer in which none was found
    prompt_tokens: int = 0  # of its proposer
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class StudyScore:
    """What one complete study gained, and what its agent wrote and read for that."""

    study_id: str
    gain_bpb: float
    n_tokens: int


@dataclass(frozen=True, slots=True)
class ProgramPair:
    """Two studies of one task with one seed and secret: with the best program so far, and with the new."""

    tier: str
    parent: StudyScore
    child: StudyScore

    @property
    def gain_bpb(self) -> float:
        """What the child gains more, at the parent's tokens: twice the tokens for a gain halve it."""
        return self.child_score - self.parent.gain_bpb

    @property
    def child_score(self) -> float:
        """The child's gain, scaled to the parent's tokens; a loss or a study without tokens is not scaled."""
        gain = self.child.gain_bpb
        if gain <= 0.0 or not self.parent.n_tokens or not self.child.n_tokens:
            return gain
        return gain * self.parent.n_tokens / self.child.n_tokens


@dataclass(frozen=True, slots=True)
class JudgedVersion:
    """A version with its verdict and the pairs behind it."""

    version: ProgramVersion
    parent: int  # the version that it was compared with
    verdict: ProgramVerdict
    pairs: tuple[ProgramPair, ...] = ()
    confirmation: tuple[ProgramPair, ...] = ()  # fresh seeds on the held-out tasks
    p_better: float | None = None
    reason: str | None = None  # machine-readable, for anything but accepted

    @property
    def gain_bpb(self) -> float | None:
        """Mean gain over all its pairs; None: it was not tried."""
        pairs = (*self.pairs, *self.confirmation)
        return fmean(pair.gain_bpb for pair in pairs) if pairs else None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The last comparison of the best version with number 0, under seeds that nothing else used."""

    version: int
    is_confirmed: bool
    gain_bpb: float
    gain_ci_low: float
    gain_ci_high: float
    pairs: tuple[ProgramPair, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramSearch:
    """A search for a better program: the content of `programs/<program_id>/search.json`."""

    program_id: str
    agent: str  # as it was named
    engine: EngineSettings  # of the agent
    proposer: str
    proposer_spec: AgentSpec | None  # its model; None: the versions come from a file
    tier: str
    held_out: tuple[str, ...]  # tasks of the confirmation; empty: the same task under fresh seeds
    track: str
    n_trials: int  # of each study
    n_versions: int
    n_placebos: int
    n_test: int  # pairs of the last comparison
    secret_hash: str
    started_at: datetime
    status: SearchStatus = SearchStatus.RUNNING
    ended_at: datetime | None = None
    result: SearchResult | None = None
    executor: str = "local"  # where its studies train

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("n_trials", "n_versions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_placebos < 0:
            raise ValueError(f"n_placebos must be at least 0, got {self.n_placebos}")
        if self.n_test < 2:
            raise ValueError(f"n_test must be at least 2, got {self.n_test}")
