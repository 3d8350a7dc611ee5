"""The board of auto-research: agents by what they gained on text that nobody had seen. Pure arithmetic.

Agents stand side by side only where everything that decides a gain is equal: tier, track, number of trials,
corpus, script and version. One study of an agent is one value; its seed pairs it with another agent's study
under that seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

from scipy import special, stats

ALPHA = 0.05
REFERENCE = "tpe"  # whose gain at the same N is 1 in `share_of_tpe`
UNIT_BPB = 0.01  # the gain that prices are told for
OWN, SEEDS = "own pairs", "agent seeds"  # what an interval is taken over


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One complete study, as far as the board needs it."""

    study_id: str
    agent: str
    kind: str
    tier: str
    track: str
    n_trials: int
    corpus_hash: str
    rules: str  # hashes of script and program, version of the harness: what else must be equal
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
    gains_by_category: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One agent among those it can be compared with."""

    agent: str
    kind: str
    rank: int  # shared with those that it cannot be told apart from
    n_studies: int
    gain_bpb: float  # mean over its studies, on `test`
    gain_ci_low: float | None
    gain_ci_high: float | None
    interval_over: str  # "agent seeds", or "own pairs" where there is one study
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
    gains_by_category: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two agents under the seeds that both have."""

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
    comparisons: tuple[Comparison, ...]


def board(studies: Sequence[StudyRow]) -> tuple[Group, ...]:
    """The groups, each with its agents by mean gain."""
    groups: dict[tuple[Any, ...], list[StudyRow]] = {}
    for study in studies:
        key = (study.tier, study.track, study.n_trials, study.corpus_hash, study.rules)
        groups.setdefault(key, []).append(study)
    return tuple(_group(key, groups[key]) for key in sorted(groups))


def _group(key: tuple[Any, ...], studies: Sequence[StudyRow]) -> Group:
    by_agent: dict[str, list[StudyRow]] = {}
    for study in studies:
        by_agent.setdefault(study.agent, []).append(study)
    reference = [study.gain_bpb for study in by_agent.get(REFERENCE, [])]
    rows = [_row(of, fmean(reference) if reference else None) for of in by_agent.values()]
    rows.sort(key=lambda row: (-row.gain_bpb, row.agent))
    comparisons = compared({agent: _by_seed(of) for agent, of in by_agent.items()})
    tier, track, n_trials, corpus_hash, rules = key
    return Group(tier, track, n_trials, corpus_hash, rules, _ranked(rows, comparisons), comparisons)


def _row(studies: Sequence[StudyRow], reference: float | None) -> BoardRow:
    first, gain = studies[0], fmean(study.gain_bpb for study in studies)
    low, high, over = _interval(studies)
    n_trials = sum(study.n_trials for study in studies)
    n_placebos = sum(study.n_placebos for study in studies)
    n_false = sum(study.n_false_accepts for study in studies)
    rate = clopper_pearson(n_false, n_placebos)
    tokens = sum(study.prompt_tokens + study.output_tokens for study in studies)
    total = gain * len(studies)
    categories = sorted({name for study in studies for name in study.gains_by_category})
    return BoardRow(
        agent=first.agent,
        kind=first.kind,
        rank=0,
        n_studies=len(studies),
        gain_bpb=gain,
        gain_ci_low=low,
        gain_ci_high=high,
        interval_over=over,
        share_of_tpe=gain / reference if reference else None,
        claimed_gain_bpb=fmean(study.claimed_gain_bpb for study in studies),
        valid_share=sum(study.n_valid for study in studies) / n_trials,
        duplicate_share=sum(study.n_duplicates for study in studies) / n_trials,
        failed_share=sum(study.n_failed for study in studies) / n_trials,
        n_caught=sum(study.n_caught for study in studies),
        n_placebos=n_placebos,
        n_false_accepts=n_false,
        false_accept_rate=n_false / n_placebos if n_placebos else None,
        false_accept_ci_low=rate[0] if rate else None,
        false_accept_ci_high=rate[1] if rate else None,
        tokens=tokens,
        tokens_per_unit=tokens / (total / UNIT_BPB) if tokens and total > 0 else None,
        train_s=sum(study.train_s for study in studies),
        latency_s=sum(study.latency_s for study in studies),
        gains_by_category={
            name: fmean(study.gains_by_category.get(name, 0.0) for study in studies) for name in categories
        },
    )


def _interval(studies: Sequence[StudyRow]) -> tuple[float, float, str]:
    """95 %, by Student's t over the studies; of a single one, its own over its pairs on `test`."""
    if len(studies) == 1:
        return studies[0].gain_ci_low, studies[0].gain_ci_high, OWN
    gains = [study.gain_bpb for study in studies]
    reach = float(special.stdtrit(len(gains) - 1, 1 - ALPHA / 2)) * stdev(gains) / math.sqrt(len(gains))
    return fmean(gains) - reach, fmean(gains) + reach, SEEDS


def clopper_pearson(n_hits: int, n: int) -> tuple[float, float] | None:
    """The exact 95 % interval of a share (Biometrika 26, 1934); None of nothing."""
    if n == 0:
        return None
    low = float(special.betaincinv(n_hits, n - n_hits + 1, ALPHA / 2)) if n_hits else 0.0
    high = float(special.betaincinv(n_hits + 1, n - n_hits, 1 - ALPHA / 2)) if n_hits < n else 1.0
    return low, high


def _by_seed(studies: Sequence[StudyRow]) -> dict[int, float]:
    """The gain under each seed; of several studies under one, their mean."""
    gains: dict[int, list[float]] = {}
    for study in studies:
        gains.setdefault(study.seed, []).append(study.gain_bpb)
    return {seed: fmean(values) for seed, values in gains.items()}


def compared(gains: Mapping[str, Mapping[int, float]]) -> tuple[Comparison, ...]:
    """Each pair of agents that share a seed, the surest difference first; p after Holm (1979)."""
    found = []
    for first, second in combinations(sorted(gains), 2):
        seeds = sorted(gains[first].keys() & gains[second].keys())
        if not seeds:
            continue
        differences = [gains[first][seed] - gains[second][seed] for seed in seeds]
        mean = fmean(differences)
        better, worse = (first, second) if mean >= 0 else (second, first)
        found.append(Comparison(better, worse, len(seeds), abs(mean), _wilcoxon(differences), 1.0))
    found.sort(key=lambda each: (each.p, each.better, each.worse))
    adjusted, highest = [], 0.0
    for place, each in enumerate(found):
        highest = max(highest, min(1.0, each.p * (len(found) - place)))
        adjusted.append(replace(each, p_adjusted=highest))
    return tuple(adjusted)


def _wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of the signed-rank test, exact without ties; 1 where nothing differs."""
    values = [value for value in differences if value != 0.0]
    if not values:
        return 1.0
    has_ties = len({abs(value) for value in values}) < len(values)
    method = "approx" if has_ties and len(values) > 10 else "exact"
    return float(stats.wilcoxon(values, method=method).pvalue)


def _ranked(rows: Sequence[BoardRow], comparisons: Sequence[Comparison]) -> tuple[BoardRow, ...]:
    """The rows with their ranks: one more than the number of agents that are surely better."""
    beaten = {(each.better, each.worse) for each in comparisons if each.p_adjusted < ALPHA}
    return tuple(
        replace(row, rank=1 + sum((other.agent, row.agent) in beaten for other in rows)) for row in rows
    )
