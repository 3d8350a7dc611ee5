"""Coverage of the intervals on the board of agents.

`python -m benchmarks.research_board [--draws N] [--json]`: invented studies of one agent go through the real
board. A study gains the agent's mean, plus what its seed is worth, plus what the study is worth, plus the
noise of its pairs on `test`; or nothing, since a study that kept no change gains exactly 0. The mean to be
covered is that over all seeds and studies.

The interval that the board showed for several studies of one seed before is beside it: the mean of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

from runners.research.final_test import N_TEST
from tracker.answers.agent_board import StudyRow, board
from tracker.stats import t_interval

N_DRAWS = 1000
MEAN_BPB = 0.1  # gain of a study that kept something; of the order of TPE's in docs/benchmarks.md
PAIR_SPREAD = 0.024  # of the pairs on `test`, as measured for beta1 on the `cpu` tier
DESIGNS = ((1, 1), (1, 2), (1, 5), (2, 1), (3, 1), (5, 1), (8, 1), (3, 3))  # seeds, studies of each


@dataclass(frozen=True, slots=True)
class Agent:
    """How the gain of an invented agent varies."""

    seed_spread: float  # bpb, between seeds
    study_spread: float  # bpb, between studies of one seed
    empty_share: float = 0.0  # of studies that keep nothing

    @property
    def mean_bpb(self) -> float:
        """The gain over all seeds and studies."""
        return (1.0 - self.empty_share) * MEAN_BPB


AGENTS: Mapping[str, Agent] = {
    "studies vary": Agent(0.0, 0.05),
    "seeds vary": Agent(0.05, 0.0),
    "both vary": Agent(0.035, 0.035),
    "one study in three keeps nothing": Agent(0.0, 0.05, empty_share=1 / 3),
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an interval holds the agent's mean gain, and how wide it is."""

    n_seeds: int
    n_studies: int  # of each seed
    covered: float
    width_bpb: float  # median
    covered_by_own: float  # by the mean of the studies' own intervals


def coverage(agent: Agent, *, n_seeds: int, n_studies: int, n_draws: int, seed: int = 0) -> Coverage:
    """Send invented studies of this agent through the board."""
    rng = np.random.default_rng(seed)
    covered, own, widths = 0, 0, []
    for _ in range(n_draws):
        studies = _drawn(rng, agent, n_seeds, n_studies)
        ((row,),) = [group.rows for group in board(studies)]
        assert row.gain_ci_low is not None
        assert row.gain_ci_high is not None
        covered += row.gain_ci_low <= agent.mean_bpb <= row.gain_ci_high
        widths.append(row.gain_ci_high - row.gain_ci_low)
        lows, highs = [s.gain_ci_low for s in studies], [s.gain_ci_high for s in studies]
        own += fmean(lows) <= agent.mean_bpb <= fmean(highs)
    return Coverage(n_seeds, n_studies, covered / n_draws, float(np.median(widths)), own / n_draws)


def _drawn(rng: np.random.Generator, agent: Agent, n_seeds: int, n_studies: int) -> list[StudyRow]:
    studies = []
    for seed in range(n_seeds):
        of_seed = MEAN_BPB + agent.seed_spread * rng.normal()
        for number in range(n_studies):
            gains = [0.0] * N_TEST
            if rng.random() >= agent.empty_share:
                of_study = of_seed + agent.study_spread * rng.normal()
                gains = [float(of_study + PAIR_SPREAD * rng.normal()) for _ in range(N_TEST)]
            found = t_interval(gains)
            studies.append(_row(seed, number, found.value, found.low, found.high))
    return studies


def _row(seed: int, number: int, gain: float, low: float, high: float) -> StudyRow:
    return StudyRow(
        study_id=f"{seed}-{number}",
        secret_hash=f"{seed}-{number}",
        agent="invented",
        kind="model",
        tier="cpu",
        track="params",
        n_trials=30,
        corpus_hash="",
        rules="",
        settings={},
        seed=seed,
        gain_bpb=gain,
        gain_ci_low=low,
        gain_ci_high=high,
        claimed_gain_bpb=gain,
        n_valid=30,
        n_duplicates=0,
        n_failed=0,
        n_caught=0,
        n_placebos=0,
        n_false_accepts=0,
        prompt_tokens=0,
        output_tokens=0,
        train_s=0.0,
        latency_s=0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {
        name: [coverage(agent, n_seeds=n, n_studies=k, n_draws=asked.draws) for n, k in DESIGNS]
        for name, agent in AGENTS.items()
    }
    if asked.json:
        print(json.dumps({name: [asdict(each) for each in rows] for name, rows in found.items()}))
        return
    print(f"share of {asked.draws:,} draws in which the 95% interval holds the mean gain")
    for name, rows in found.items():
        print(name)
        for each in rows:
            print(
                f"  {each.n_seeds} x {each.n_studies} studies: {100 * each.covered:.0f} %, width"
                f" {each.width_bpb:.3f} bpb (own intervals: {100 * each.covered_by_own:.0f} %)"
            )


if __name__ == "__main__":
    main()
