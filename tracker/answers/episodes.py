"""Suites of episodes, such as `tools` and `home`: what success costs, and what discovery costs.

Success stands beside the tokens of an episode and the memory that the model needs; at the levels of `home`
beside that with documented tools. Unsafe actions are counts, never means. Pure functions of frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd

from tracker.answers.run_lines import TOOL_FORMS
from tracker.stats import Interval, independent_difference, median_interval
from tracker.wording import counted

DOCUMENTED = "home_tools"
LEVELS: Mapping[str, str] = {  # of the suite `home`, by task
    DOCUMENTED: "documented tools",
    "home_api": "an API to read",
    "home_network": "undocumented devices",
}
MEMORY_NOTE = "Memory is an estimate for any device: weights, 4,096 tokens of context, engine overhead."
TOKENS_NOTE = (
    "Tokens are those that the model wrote in an episode, each model's own: half of its episodes took fewer"
    " than the median."
)
UNSAFE_NOTE = "An episode with an unsafe action fails; actions are counted over all episodes, never averaged."
LEVELS_NOTE = (
    "The levels draw different commands of the same kinds, so a difference has the interval of two"
    " independent scores."
)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EpisodeRun:
    """A model with one set of settings on one task of episodes; scores are fractions of 1."""

    label: str  # the model id, and the settings that differ
    model_id: str
    revision: str
    engine: str | None
    dtype: str | None
    quantization: str | None
    device: str | None
    tools: str | None  # how the model saw them: "in the chat template", "as text"
    thinking: bool | None
    sampling: str
    max_output_tokens: int | None
    run_id: str
    measured_at: datetime
    task: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n_episodes: int
    n_unsafe: int | None  # actions; None: the task counts none
    n_unsafe_episodes: int | None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"measured_at": self.measured_at.isoformat()}

    @property
    def interval(self) -> Interval | None:
        """The score with its interval; None: it has none."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return Interval(self.value, None, self.ci_low, self.ci_high)


@dataclass(frozen=True, slots=True)
class EpisodeCost:
    """What the episodes of a run cost; tokens are of one episode, memory is in bytes."""

    run: EpisodeRun
    median_output_tokens: float | None
    median_ci_low: float | None  # None: fewer than six episodes, or repeats of the same ones
    median_ci_high: float | None
    mean_output_tokens: float | None
    mean_prompt_tokens: float | None  # read, summed over the answers of an episode
    mean_calls: float
    mean_turns: float
    needed_bytes: float | None
    peak_memory_bytes: float | None
    is_token_front: bool = False  # no other succeeds as often with fewer tokens, or more often with as many
    is_memory_front: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        own = asdict(self)
        del own["run"]
        return self.run.document() | own


@dataclass(frozen=True, slots=True)
class LevelScore:
    """A model at one level of `home`, and its difference to documented tools, −1 to 1."""

    run: EpisodeRun
    level: str
    difference: float | None  # None: it is that level, or that one was not measured
    difference_ci_low: float | None
    difference_ci_high: float | None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        own = asdict(self)
        del own["run"]
        return self.run.document() | own


@dataclass(frozen=True, slots=True)
class EpisodeBoard:
    """The runs of a suite of episodes: `costs` on one task, best first; `levels` of every model in order."""

    costs: tuple[EpisodeCost, ...]
    levels: tuple[LevelScore, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "costs": [one.document() for one in self.costs],
            "levels": [one.document() for one in self.levels],
            "notes": list(self.notes),
        }


def episode_board(
    ranked: pd.DataFrame, at_levels: pd.DataFrame, counts: Sequence[Row]
) -> EpisodeBoard | None:
    """The board beside the rows of a leaderboard; None: its task is not one of episodes.

    `ranked` has the rows of `ranked_rows` that are shown, `at_levels` those on the tasks of `LEVELS` with
    the labels of `labeled_subjects`, `counts` the rows of the read `episode_runs`.
    """
    known = {(row["run_id"], row["task"]): row for row in counts}
    costs = [
        _cost(row, known[row["run_id"], row["task"]])
        for row in ranked.to_dict("records")
        if (row["run_id"], row["task"]) in known
    ]
    if not costs:
        return None
    levels = _levels(at_levels, known)
    return EpisodeBoard(tuple(_with_fronts(costs)), levels, tuple(_notes(costs, levels)))


def unsafe_text(run: EpisodeRun) -> str:
    """`3 unsafe actions in 2 of 24 episodes`; empty where the task counts none."""
    if run.n_unsafe is None or run.n_unsafe_episodes is None:
        return ""
    episodes = f"{run.n_unsafe_episodes:,} of {counted(run.n_episodes, 'episode')}"
    return f"{counted(run.n_unsafe, 'unsafe action')} in {episodes}"


def difference_text(found: LevelScore) -> str:
    """`−12.5 points (−31.0 … 8.2)`; empty at the level that the others are compared with."""
    if found.difference is None or found.difference_ci_low is None or found.difference_ci_high is None:
        return ""
    ends = f"{100 * found.difference_ci_low:+.1f} … {100 * found.difference_ci_high:+.1f}"
    return f"{100 * found.difference:+.1f} points ({ends})"


def tokens_text(found: EpisodeCost) -> str:
    """The median of the tokens of an episode, with its interval: `640 (420 … 910)`; empty: not known."""
    if found.median_output_tokens is None:
        return ""
    if found.median_ci_low is None or found.median_ci_high is None:
        return f"{found.median_output_tokens:,.0f}"
    ends = f"{found.median_ci_low:,.0f} … {found.median_ci_high:,.0f}"
    return f"{found.median_output_tokens:,.0f} ({ends})"


def _cost(row: Row, count: Row) -> EpisodeCost:
    tokens = count["output_tokens"] or []
    is_repeated = (_known(row["repeats"]) or 1) > 1
    median = median_interval(tokens) if tokens and not is_repeated else None
    return EpisodeCost(
        run=_run(row, count),
        median_output_tokens=float(pd.Series(tokens).median()) if tokens else None,
        median_ci_low=None if median is None else float(median.low),
        median_ci_high=None if median is None else float(median.high),
        mean_output_tokens=sum(tokens) / len(tokens) if tokens else None,
        mean_prompt_tokens=count["mean_prompt_tokens"],
        mean_calls=count["mean_calls"],
        mean_turns=count["mean_turns"],
        needed_bytes=_known(row["needed_bytes"]),
        peak_memory_bytes=_known(row["peak_memory_bytes"]),
    )


def _run(row: Row, count: Row) -> EpisodeRun:
    budget = _known(row["max_output_tokens"])
    forms = dict.fromkeys(one.get("tools") for one in count["prompts"] or () if one.get("tools"))
    return EpisodeRun(
        label=row["label"],
        model_id=row["model_id"],
        revision=row["revision"],
        engine=_text(row["engine"]),
        dtype=_text(row["dtype"]),
        quantization=_text(row["quantization"]),
        device=_text(row["device"]),
        tools=", ".join(TOOL_FORMS.get(form, form) for form in forms) or None,
        thinking=row["thinking"] if isinstance(row["thinking"], bool) else None,
        sampling=row["sampling"],
        max_output_tokens=None if budget is None else int(budget),
        run_id=row["run_id"],
        measured_at=row["measured_at"].to_pydatetime(),
        task=row["task"],
        value=row["score"],
        ci_low=_known(row["ci_low"]),
        ci_high=_known(row["ci_high"]),
        n_episodes=int(row["n_items"]),
        n_unsafe=count["n_unsafe"],
        n_unsafe_episodes=count["n_unsafe_episodes"],
    )


def _with_fronts(costs: Sequence[EpisodeCost]) -> list[EpisodeCost]:
    by_tokens = _front([(one.run.value, one.median_output_tokens) for one in costs])
    by_memory = _front([(one.run.value, one.needed_bytes) for one in costs])
    return [
        replace(one, is_token_front=tokens, is_memory_front=memory)
        for one, tokens, memory in zip(costs, by_tokens, by_memory, strict=True)
    ]


def _front(pairs: Sequence[tuple[float, float | None]]) -> list[bool]:
    """Of each value and cost, whether no other has at least the value for at most the cost, and not both."""

    def is_beaten(value: float, cost: float) -> bool:
        return any(
            other >= value and spent <= cost and (other, spent) != (value, cost)
            for other, spent in pairs
            if spent is not None
        )

    return [cost is not None and not is_beaten(value, cost) for value, cost in pairs]


def _levels(at_levels: pd.DataFrame, known: Mapping[tuple[str, str], Row]) -> tuple[LevelScore, ...]:
    """The levels of each model and settings; those that succeed most often with documented tools first."""
    found: dict[str, dict[str, EpisodeRun]] = {}
    for row in at_levels.to_dict("records"):
        if count := known.get((row["run_id"], row["task"])):
            found.setdefault(row["label"], {})[row["task"]] = _run(row, count)
    in_order = sorted(found.items(), key=lambda one: (-_documented(one[1]), one[0]))
    return tuple(
        _level(runs[task], runs.get(DOCUMENTED)) for _, runs in in_order for task in LEVELS if task in runs
    )


def _documented(runs: Mapping[str, EpisodeRun]) -> float:
    return runs[DOCUMENTED].value if DOCUMENTED in runs else -1.0


def _level(run: EpisodeRun, documented: EpisodeRun | None) -> LevelScore:
    level = LEVELS[run.task]
    if documented is None or run is documented or not (run.interval and documented.interval):
        return LevelScore(run, level, None, None, None)
    found = independent_difference(run.interval, documented.interval)
    return LevelScore(run, level, found.value, found.low, found.high)


def _notes(costs: Sequence[EpisodeCost], levels: Sequence[LevelScore]) -> list[str]:
    runs = [one.run for one in costs] + [one.run for one in levels]
    notes = [TOKENS_NOTE, MEMORY_NOTE]
    for name, differing in (
        ("device", {run.device or "unknown" for run in runs}),
        ("engine", {run.engine or "unknown" for run in runs}),
        ("form of the tools", {run.tools or "unknown" for run in runs}),
    ):
        if len(differing) > 1:
            notes.append(f"Measured with more than one {name}: {', '.join(sorted(differing))}.")
    if any(run.n_unsafe is not None for run in runs):
        notes.append(UNSAFE_NOTE)
    if any(one.difference is not None for one in levels):
        notes.append(LEVELS_NOTE)
    return notes


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
