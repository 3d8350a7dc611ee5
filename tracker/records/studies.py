"""Records of auto-research: studies, trials, proposals, and the trainings behind each verdict.

Losses are bits per byte of the corpus (bpb; lower is better), gains are bpb saved (higher is better), times
are aware UTC, durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tracker.records import EngineSettings, Model

Params = Mapping[str, float | int | str | bool]
SECRET_HEX = re.compile(r"[0-9a-f]{64}")

# kinds of agents that stand beside the agents of every track, the yardstick of every board
BASELINES = ("random", "tpe")
# the parts of the jaggedness profile; each tunable number belongs to one
CATEGORIES = ("learning_rate", "decay", "betas", "schedule", "initialisation", "architecture", "batch")


class Track(StrEnum):
    """The parts that an agent may change."""

    PARAMS = "params"  # the tunable numbers, in a typed space
    CODE = "code"  # the training script, by SEARCH/REPLACE
    HYBRID = "hybrid"  # the numbers; an optimizer proposes and the model may override a share


class Loop(StrEnum):
    """How a model comes to a proposal."""

    ONCE = "once"  # one question, one answer, one repair
    TOOLS = "tools"  # call by call, until it submits


class Split(StrEnum):
    """Disjoint parts of the corpus beside `train`."""

    VAL = "val"  # shown to the agent
    SELECT = "select"  # the harness alone: decides
    TEST = "test"  # used once per study: reported


class TrainingStatus(StrEnum):
    """The outcome of one training."""

    OK = "ok"
    CRASHED = "crashed"
    DIVERGED = "diverged"  # a loss that is not finite
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"  # over a limit of the tier, or not plausible; `reason` names the check
    CAUGHT = "caught"  # proof that the score would be faked; `reason` names it


class Verdict(StrEnum):
    """The outcome of a trial."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"  # tried before: answered from the cache
    INVALID = "invalid"  # the reply contains no change, or one outside the space
    FAILED = "failed"  # its training crashed, diverged, passed a limit, or has a result that is not plausible
    CAUGHT = "caught"  # proof of an attempt to fake the score


class StudyStatus(StrEnum):
    """The state of a study."""

    RUNNING = "running"
    COMPLETE = "complete"
    PAUSED = "paused"  # the model cannot be reached; `tracker research resume` continues
    INTERRUPTED = "interrupted"  # killed, Ctrl-C or the stop button; resumable
    FAILED = "failed"


def changed_numbers(before: Params, after: Params) -> str:
    """The numbers in which two changes differ: `beta1 default → 0.8, lr 0.001 → 0.002`; empty if none."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{n} {before.get(n, 'default')} → {after.get(n, 'default')}" for n in names)


@dataclass(frozen=True, slots=True)
class Change:
    """A change to train: numbers that differ from the tier's defaults, and the script if it was edited."""

    params: Params = field(default_factory=dict)
    script: str | None = None  # the whole edited script; None: the shipped one


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model and its verbatim answer."""

    prompt: str  # the messages as JSON
    reply: str
    prompt_tokens: int
    output_tokens: int  # thinking included
    finish_reason: str
    latency_s: float
    thinking: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that an agent proposes, or the reason that its answer is unusable."""

    change: Change | None  # None: invalid
    rationale: str = ""
    proposer: str = ""  # who: "model", "tpe", "random", … (a hybrid has two)
    diff: str | None = None  # code track: as the agent wrote it
    problem: str | None = None  # why it is invalid, in a sentence shown to the agent
    exchanges: tuple[Exchange, ...] = ()  # empty for an optimizer
    notes: str = ""  # what the model wrote down for its own later trials

    def __post_init__(self) -> None:
        """Check that there is either a change or a problem."""
        if (self.change is None) == (self.problem is None):
            raise ValueError("a proposal has either a change or a problem")


@dataclass(frozen=True, slots=True)
class Training:
    """One training of one change under one seed, as the trusted evaluator measured it."""

    key: str  # fingerprint of script, numbers, tier, corpus, seed and versions: equal key, equal result
    seed: int  # of initialization and data order
    status: TrainingStatus
    reason: str | None = None  # machine-readable cause of anything but `ok`
    detail: str | None = None  # the same for people
    bpb: Mapping[str, float] = field(default_factory=dict)  # split → bits per byte
    curve: tuple[tuple[int, float], ...] = ()  # (training tokens seen, training loss in nats per token)
    n_tokens: int = 0  # trained on
    n_params: int | None = None
    train_s: float = 0.0  # wall time
    cpu_s: float = 0.0  # CPU time of the training
    eval_s: float = 0.0
    tokens_per_s: float | None = None
    mfu: float | None = None  # model FLOPs utilization, 0..1; None: the device's peak is unknown
    peak_memory_bytes: int | None = None
    device: str = "cpu"
    machine: str = ""  # processor or card of the node that trained it; empty: the machine of the study
    # what the evaluator measured beside the scores; in the files alone, and never shown to an agent
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """Parent and child trained under one seed: same initialization, same data order."""

    seed: int
    parent: Training
    child: Training

    def gain(self, split: str) -> float | None:
        """Bits per byte that the child saves; None if either has no loss."""
        if split not in self.parent.bpb or split not in self.child.bpb:
            return None
        return self.parent.bpb[split] - self.child.bpb[split]


@dataclass(frozen=True, slots=True)
class Trial:
    """One slot of a study: a proposal (or a placebo in its place), its pairs, the verdict."""

    study_id: str
    slot: int  # from 0; placebos have separate slots and do not count against the agent's N
    proposal: Proposal
    verdict: Verdict
    started_at: datetime
    ended_at: datetime
    is_placebo: bool = False  # the incumbent against itself under new seeds: accepting it is a false accept
    wave: int = 0  # proposals of one wave were requested together
    parent: Change = field(default_factory=Change)  # the incumbent it was compared with
    categories: tuple[str, ...] = ()  # of `CATEGORIES`: what the change touches
    pairs: tuple[Pair, ...] = ()  # the looks of the gate
    confirmation: tuple[Pair, ...] = ()  # fresh seeds, after the gate accepted
    p_better: float | None = None  # of the gate's last look
    claimed_gain_bpb: float | None = None  # on `val`, mean of the gate's pairs: what a naive loop reports
    confirmed_gain_bpb: float | None = None  # on `select`, mean of the confirmation's pairs
    reason: str | None = None  # machine-readable, for anything but accepted
    detail: str | None = None  # the same for people, and what the agent is told


@dataclass(frozen=True, slots=True)
class Attack:
    """The outcome of one scripted cheat."""

    name: str
    outcome: str  # "caught" or "passed", as the suite says it
    how: str


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One run of the attack suite: the content of `attacks/<suite_run_id>.json`."""

    suite_run_id: str  # sorts by time
    started_at: datetime
    ended_at: datetime
    tier: str
    sandbox: str
    version: str  # of tracker
    is_whole: bool  # whether it ran all attacks, not a selection
    attacks: tuple[Attack, ...]


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Who proposes: `kind` is a name of `runners.research.agents.AGENTS`, or `package.module:Class`."""

    kind: str
    name: str  # on the board: the model's id, or the kind
    model: Model | None = None
    settings: EngineSettings | None = None
    override_share: float = 0.3  # hybrid: at most this share of the trials is the model's (centaur, §3.1)
    optimiser: str = "tpe"  # hybrid: whose trials these are; or "cma"
    loop: Loop = Loop.ONCE  # of a model
    team: int = 1  # members with the same engine; each makes one trial of a wave with tools
    token_budget: int | None = None  # of all members and trials together, prompts included


@dataclass(frozen=True, slots=True)
class StudySecret:
    """256 bits from which the training seeds of one study follow: the content of its `secret.json`."""

    value: str = field(repr=False)  # 64 hex digits

    def __post_init__(self) -> None:
        """Check the form; the message does not repeat the value."""
        if not SECRET_HEX.fullmatch(self.value):
            raise ValueError("a secret has 64 hexadecimal digits in lower case")

    @property
    def hash(self) -> str:
        """SHA-256 of the secret; can be shown before the secret is."""
        return hashlib.sha256(self.value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Transfer:
    """The gain of a study's final change at a larger size, or the reason that there is none."""

    n_params: int | None = None  # of the defaults at that size
    n_tokens: int | None = None  # of a training
    gain_bpb: float | None = None  # on `test`, mean of paired fresh seeds
    gain_ci_low: float | None = None
    gain_ci_high: float | None = None
    detail: str | None = None  # why there is no gain, in a sentence
    pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is either a gain or a reason."""
        if (self.gain_bpb is None) == (self.detail is None):
            raise ValueError("a transfer has either a gain or a reason for having none")


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of a finished study; the interval is the 95% one over paired fresh seeds."""

    baseline_bpb: float  # the tier's defaults on `test`
    test_bpb: float  # the final pick on `test`
    best_val_bpb: float  # the change that looked best to the agent
    gain_bpb: float  # confirmed on `test`, mean of paired fresh seeds
    gain_ci_low: float
    gain_ci_high: float
    claimed_gain_bpb: float  # on `val`, by the running minimum that a naive loop reports
    test_pairs: tuple[Pair, ...] = ()
    transfer: Transfer | None = None  # None: not asked for


@dataclass(frozen=True, slots=True)
class Study:
    """One agent, one tier, one track, one seed: the content of `study.json`."""

    study_id: str
    agent: AgentSpec
    tier: str
    track: Track
    seed: int  # of the agent; the seeds of the trainings follow from the secret
    n_trials: int  # the agent's budget; placebos come on top
    status: StudyStatus
    started_at: datetime
    pid: int
    corpus_hash: str
    script_hash: str  # of the shipped training script
    program_hash: str  # of `program.md` and the rest of the prompt
    harness_version: str  # a study can be resumed only under the version that started it
    program: str = ""  # the complete prompt of the agent
    has_own_program: bool = False  # it came from `--program`, and is compared as it was kept
    wave_size: int = 1
    placebo_share: float = 0.1
    ended_at: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    incumbent: Change = field(default_factory=Change)
    result: StudyResult | None = None
    hardware: Mapping[str, Any] = field(default_factory=dict)
    sandbox: str = ""  # "bubblewrap", "unshare" or "none"
    warnings: tuple[str, ...] = ()
    secret_hash: str | None = None  # of its `StudySecret`; None: older, its seeds follow from `seed`
    secret: str | None = None  # written down once the study is complete
    ngram_bpb: float | None = None  # of an n-gram table on `test`; None: a task without such a line
    has_transfer: bool = False  # whether the final change is tried at a larger size
    executor: str = "local"  # where it trains

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.secret is not None and StudySecret(self.secret).hash != self.secret_hash:
            raise ValueError("the secret does not belong to secret_hash")
        if self.n_trials < 1:
            raise ValueError(f"n_trials must be at least 1, got {self.n_trials}")
        if self.wave_size < 1:
            raise ValueError(f"wave_size must be at least 1, got {self.wave_size}")
        if not 0.0 <= self.placebo_share < 1.0:
            raise ValueError(f"placebo_share must be in 0..1, got {self.placebo_share}")
