"""The auto-research board: agents ranked by their gain on unseen text. Pure arithmetic.

Agents are compared only if everything that affects the gain is equal: tier, track, number of trials, corpus,
script and version. An agent has one value per seed, the mean of its studies with that seed, which is paired
with another agent's value for the same seed. Random search and TPE, which cannot change the script, are also
compared with agents of the other tracks: a gain on `test` in bpb means the same on each.

A study in which a trial was caught faking its score counts as a gain of at most 0, and its agent ranks below
all agents without one, whatever its other studies gained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Any

from tracker.records.studies import BASELINES
from tracker.stats import share_interval, t_interval

ALPHA = 0.05
REFERENCE = "tpe"  # whose gain at the same N is 1 in `share_of_tpe`
PARAMS = "params"  # the only track of the baselines
SHOWN_REVISION = 12  # characters of a commit
THINKING = {None: "thinking by default", True: "thinking", False: "no thinking"}
UNIT_BPB = 0.01  # gain that token costs are quoted for
OWN, STUDIES, SEEDS = "own pairs", "studies of one seed", "agent seeds"  # basis of an interval


@dataclass(frozen=True, slots=True)
class StudyRow:
    """The fields of a complete study that the board needs."""

    study_id: str
    agent: str
    kind: str
    tier: str
    track: str
    n_trials: int
    corpus_hash: str
    rules: str  # hashes of script and program, harness version; must be equal too
    settings: Mapping[str, Any]  # variant of the agent: wave, revision, engine, non-default settings
    seed: int
    gain_bpb: float
    gain_ci_low: float
    gain_ci_high: float
    claimed_gain_bpb: float
    n_valid: int
    n_duplicates: int
    n_failed: int
    n_caught: int
    n_placebos: int
    n_false_accepts: int
    prompt_tokens: int
    output_tokens: int
    train_s: float
    latency_s: float
    wall_s: float = 0.0  # of asking and of the trials, which may train several changes at once
    secret_hash: str | None = None  # None: an older study, whose seeds an agent could compute
    transfer_gain_bpb: float | None = None  # of its final change at a larger size
    baseline_bpb: float | None = None  # of the defaults on `test`
    ngram_bpb: float | None = None  # of an n-gram table there
    gains_by_category: Mapping[str, float] = field(default_factory=dict)

    @property
    def counted_gain_bpb(self) -> float:
        """The gain that counts: at most 0 if a trial was caught."""
        return min(0.0, self.gain_bpb) if self.n_caught else self.gain_bpb

    @property
    def drawn_as(self) -> str:
        """Equal for studies whose trainings drew the same seeds."""
        return self.secret_hash or self.study_id


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One agent in a group of comparable agents."""

    agent: str  # name, plus its settings if the group has another variant of it
    kind: str
    track: str  # the group's, or `params` for a baseline in a group of another track
    rank: int  # shared by agents that do not differ significantly; those with a caught trial come last
    n_studies: int
    n_seeds: int
    gain_bpb: float  # mean over its seeds, on `test`; a study with a caught trial counts at most 0
    gain_ci_low: float | None
    gain_ci_high: float | None
    interval_over: str  # "agent seeds"; for one seed "studies of one seed", for one study "own pairs"
    share_of_tpe: float | None
    claimed_gain_bpb: float
    valid_share: float
    duplicate_share: float
    failed_share: float
    n_caught: int
    n_placebos: int
    n_false_accepts: int
    false_accept_rate: float | None
    false_accept_ci_low: float | None
    false_accept_ci_high: float | None
    tokens: int
    tokens_per_unit: float | None  # per 0.01 bpb confirmed; None: no tokens, or no gain
    train_s: float
    latency_s: float
    is_caught: bool = False  # whether any of its trials was
    n_public_seeds: int = 0  # studies whose seeds an agent could compute
    tokens_per_s: float | None = None  # of the agent's answers; None: no tokens
    wall_s: float = 0.0  # of asking and of the trials
    wall_s_per_unit: float | None = None  # per 0.01 bpb confirmed; None: no gain
    transfer_gain_bpb: float | None = None  # mean over its studies with one
    n_transfers: int = 0
    gains_by_category: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentComparison:
    """Two agents compared over the seeds they share."""

    better: str
    worse: str
    n_seeds: int
    difference_bpb: float
    p: float  # two-sided, Wilcoxon's signed ranks, exact
    p_adjusted: float  # Holm, over all pairs of the group


@dataclass(frozen=True, slots=True)
class Group:
    """Agents that can be compared, best first."""

    tier: str
    track: str
    n_trials: int
    corpus_hash: str
    rules: str
    rows: tuple[BoardRow, ...]
    comparisons: tuple[AgentComparison, ...]
    baseline_bpb: float | None = None  # of the defaults on `test`, mean over the studies
    ngram_bpb: float | None = None  # of the best n-gram table there; None: a task without such a line


@dataclass(frozen=True, slots=True)
class TaskMean:
    """One agent over several tasks, each at the same number of trials."""

    agent: str
    track: str
    n_trials: int
    share_of_tpe: float  # mean over the tasks
    tasks: tuple[str, ...]


def over_tasks(groups: Sequence[Group]) -> tuple[TaskMean, ...]:
    """Agents by their mean share of TPE's gain, best first: bits of one task are not those of another.

    Only agents with a share on two tasks or more, and among several groups of one task the last one counts.
    An agent on fewer tasks than another is not worse, but its mean is of other tasks.
    """
    shares: dict[tuple[str, str, int], dict[str, float]] = {}
    for group in groups:
        for row in group.rows:
            if row.share_of_tpe is not None and row.track == group.track:
                shares.setdefault((row.agent, group.track, group.n_trials), {})[group.tier] = row.share_of_tpe
    means = [
        TaskMean(*key, share_of_tpe=fmean(of.values()), tasks=tuple(sorted(of)))
        for key, of in shares.items()
        if len(of) > 1
    ]
    return tuple(sorted(means, key=lambda mean: (mean.track, mean.n_trials, -mean.share_of_tpe, mean.agent)))


def board(studies: Sequence[StudyRow]) -> tuple[Group, ...]:
    """The groups, each with its agents by mean gain; every group includes the baselines of `params`."""
    groups: dict[tuple[Any, ...], list[StudyRow]] = {}
    for study in studies:
        key = (study.tier, study.track, study.n_trials, study.corpus_hash, study.rules)
        groups.setdefault(key, []).append(study)
    return tuple(_group(key, [*groups[key], *_beside(key, groups)]) for key in sorted(groups))


def with_baselines(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key of the group whose baselines are included in the group of `key`; for `params`, itself."""
    tier, _, *rest = key
    return (tier, PARAMS, *rest)


def label(agent: str, settings: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """A label that distinguishes the agent from its variants `among`, such as `acme/atlas (wave 4)`."""
    names = dict.fromkeys(name for each in (settings, *among) for name in each)
    differing = [n for n in names if any(each.get(n) != settings.get(n) for each in among)]
    shown = ", ".join(_setting(name, settings.get(name)) for name in differing)
    return f"{agent} ({shown})" if shown else agent


def variants(studies: Sequence[StudyRow]) -> dict[str, list[Mapping[str, Any]]]:
    """The settings with which each agent of a group has studies."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for study in studies:
        of_agent = found.setdefault(study.agent, [])
        if study.settings not in of_agent:
            of_agent.append(study.settings)
    return found


def _setting(name: str, value: Any) -> str:
    if name == "thinking":
        return THINKING[value]
    if name == "revision":
        return f"revision {str(value)[:SHOWN_REVISION]}"
    shown = "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {shown}"


def _beside(key: tuple[Any, ...], groups: Mapping[tuple[Any, ...], list[StudyRow]]) -> list[StudyRow]:
    """The baselines' studies that are included in a group of another track."""
    if with_baselines(key) == key:
        return []
    return [study for study in groups.get(with_baselines(key), []) if study.kind in BASELINES]


def _group(key: tuple[Any, ...], studies: Sequence[StudyRow]) -> Group:
    among = variants(studies)
    by_agent: dict[str, list[StudyRow]] = {}
    for study in studies:
        by_agent.setdefault(label(study.agent, study.settings, among[study.agent]), []).append(study)
    reference = _reference(list(by_agent.values()))
    rows = [_row(agent, of, reference) for agent, of in by_agent.items()]
    rows.sort(key=lambda row: (row.is_caught, -row.gain_bpb, row.agent))
    comparisons = compared({agent: _by_seed(of, _gain) for agent, of in by_agent.items()})
    tier, track, n_trials, corpus_hash, rules = key
    return Group(
        tier,
        track,
        n_trials,
        corpus_hash,
        rules,
        _ranked(rows, comparisons),
        comparisons,
        baseline_bpb=_mean([study.baseline_bpb for study in studies]),
        ngram_bpb=_mean([study.ngram_bpb for study in studies]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _reference(agents: Sequence[Sequence[StudyRow]]) -> float | None:
    """TPE's gain, from its variant with the smallest waves; None if it gained nothing."""
    found = [of for of in agents if of[0].kind == REFERENCE]
    if not found:
        return None
    gain = fmean(_by_seed(min(found, key=lambda of: of[0].settings.get("wave") or 1), _gain).values())
    return gain if gain > 0 else None


def _row(agent: str, studies: Sequence[StudyRow], reference: float | None) -> BoardRow:
    first, gain = studies[0], fmean(_by_seed(studies, _gain).values())
    low, high, over = _interval(studies)
    n_trials = sum(study.n_trials for study in studies)
    # an optimizer repeats a study with the same seeds exactly: only the newest one's placebos count
    newest = {
        (study.seed, study.secret_hash): study for study in sorted(studies, key=lambda study: study.study_id)
    }
    n_placebos = sum(study.n_placebos for study in newest.values())
    n_false = sum(study.n_false_accepts for study in newest.values())
    rate = share_interval(n_false, n_placebos)
    tokens = sum(study.prompt_tokens + study.output_tokens for study in studies)
    n_units = sum(study.counted_gain_bpb for study in studies) / UNIT_BPB
    latency_s, wall_s = sum(s.latency_s for s in studies), sum(s.wall_s for s in studies)
    transfers = [s.transfer_gain_bpb for s in studies if s.transfer_gain_bpb is not None]
    return BoardRow(
        agent=agent,
        kind=first.kind,
        track=first.track,
        rank=0,
        n_studies=len(studies),
        n_seeds=len({study.seed for study in studies}),
        gain_bpb=gain,
        gain_ci_low=low,
        gain_ci_high=high,
        interval_over=over,
        share_of_tpe=None if reference is None else gain / reference,
        claimed_gain_bpb=fmean(_by_seed(studies, lambda study: study.claimed_gain_bpb).values()),
        valid_share=sum(study.n_valid for study in studies) / n_trials,
        duplicate_share=sum(study.n_duplicates for study in studies) / n_trials,
        failed_share=sum(study.n_failed for study in studies) / n_trials,
        n_caught=sum(study.n_caught for study in studies),
        n_placebos=n_placebos,
        n_false_accepts=n_false,
        false_accept_rate=n_false / n_placebos if n_placebos else None,
        false_accept_ci_low=rate.low if rate else None,
        false_accept_ci_high=rate.high if rate else None,
        tokens=tokens,
        tokens_per_unit=tokens / n_units if tokens and n_units > 0 else None,
        train_s=sum(study.train_s for study in studies),
        latency_s=latency_s,
        is_caught=any(study.n_caught for study in studies),
        n_public_seeds=sum(study.secret_hash is None for study in studies),
        tokens_per_s=sum(s.output_tokens for s in studies) / latency_s if tokens and latency_s > 0 else None,
        wall_s=wall_s,
        wall_s_per_unit=wall_s / n_units if wall_s and n_units > 0 else None,
        transfer_gain_bpb=fmean(transfers) if transfers else None,
        n_transfers=len(transfers),
        gains_by_category=_profile(studies),
    )


def _profile(studies: Sequence[StudyRow]) -> dict[str, float]:
    """The mean gain over seeds by category of change."""
    names = sorted({name for study in studies for name in study.gains_by_category})
    return {name: fmean(_by_seed(studies, _of_category(name)).values()) for name in names}


def _of_category(name: str) -> Callable[[StudyRow], float]:
    return lambda study: 0.0 if study.n_caught else study.gains_by_category.get(name, 0.0)


def _interval(studies: Sequence[StudyRow]) -> tuple[float, float, str]:
    """The 95% interval by Student's t over seeds; for one seed, over its studies; for one study, its own.

    Of one seed it is never narrower than the studies' own intervals, which the pairs on `test` give: two
    studies may agree by luck.
    """
    by_seed = list(_by_seed(studies, _gain).values())
    if len(by_seed) > 1:
        found = t_interval(by_seed)
        return found.low, found.high, SEEDS
    (mean,) = by_seed
    half_width = fmean((study.gain_ci_high - study.gain_ci_low) / 2 for study in studies)
    gains = list(_by_draw(studies, _gain).values())
    if len(gains) > 1:
        half_width = max(half_width, t_interval(gains).half_width)
    return mean - half_width, mean + half_width, STUDIES if len(gains) > 1 else OWN


def _gain(study: StudyRow) -> float:
    return study.counted_gain_bpb


def _by_seed(studies: Sequence[StudyRow], value: Callable[[StudyRow], float]) -> dict[int, float]:
    """The value for each seed, averaged over studies with the same seed."""
    of_seed: dict[int, list[StudyRow]] = {}
    for study in studies:
        of_seed.setdefault(study.seed, []).append(study)
    return {seed: fmean(_by_draw(each, value).values()) for seed, each in of_seed.items()}


def _by_draw(studies: Sequence[StudyRow], value: Callable[[StudyRow], float]) -> dict[str, float]:
    """The value for each draw of training seeds; studies that share them are one measurement."""
    values: dict[str, list[float]] = {}
    for study in studies:
        values.setdefault(study.drawn_as, []).append(value(study))
    return {drawn: fmean(of_draw) for drawn, of_draw in values.items()}


def compared(gains: Mapping[str, Mapping[int, float]]) -> tuple[AgentComparison, ...]:
    """Each pair of agents that share a seed, most significant first; p adjusted by Holm (1979)."""
    found = []
    for first, second in combinations(sorted(gains), 2):
        seeds = sorted(gains[first].keys() & gains[second].keys())
        if not seeds:
            continue
        differences = [gains[first][seed] - gains[second][seed] for seed in seeds]
        mean = fmean(differences)
        better, worse = (first, second) if mean >= 0 else (second, first)
        found.append(AgentComparison(better, worse, len(seeds), abs(mean), _wilcoxon(differences), 1.0))
    found.sort(key=lambda each: (each.p, each.better, each.worse))
    adjusted, highest = [], 0.0
    for place, each in enumerate(found):
        highest = max(highest, min(1.0, each.p * (len(found) - place)))
        adjusted.append(replace(each, p_adjusted=highest))
    return tuple(adjusted)


def _wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of the signed-rank test, exact without ties; 1 if nothing differs."""
    values = [value for value in differences if value != 0.0]
    if not values:
        return 1.0
    from scipy.stats import wilcoxon  # most pages need it not, and it takes as long to load as all of pandas

    has_ties = len({abs(value) for value in values}) < len(values)
    method = "approx" if has_ties and len(values) > 10 else "exact"
    return float(wilcoxon(values, method=method).pvalue)


def _ranked(rows: Sequence[BoardRow], comparisons: Sequence[AgentComparison]) -> tuple[BoardRow, ...]:
    """The rows with ranks: one more than the number of significantly better agents.

    Every agent without a caught trial is better than every agent with one.
    """
    beaten = {(each.better, each.worse) for each in comparisons if each.p_adjusted < ALPHA}

    def is_above(other: BoardRow, row: BoardRow) -> bool:
        if other.is_caught != row.is_caught:
            return row.is_caught
        return (other.agent, row.agent) in beaten

    return tuple(replace(row, rank=1 + sum(is_above(other, row) for other in rows)) for row in rows)
