"""The gate: what it lets through by chance, what it finds, and what it saves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.research_gate import NOISES, SPREADS, bootstrap_p, simulate, simulate_studies
from runners.research.gate import FLOOR_BPB, Step, confirm, judge, p_better

N_TRIALS = 6000
ALPHA = 0.05


@pytest.mark.parametrize(
    ("gains", "step", "n_pairs", "reason"),
    [
        ((), Step.MORE, 1, None),
        ((0.1,), Step.MORE, 3, None),
        ((0.1, -0.1), Step.MORE, 3, None),
        ((-0.001,), Step.REJECT, 1, "lost_first_pair"),
        ((0.0,), Step.REJECT, 1, "lost_first_pair"),
        ((0.088, 0.081, 0.193), Step.ACCEPT, 3, None),  # as measured on a small model
        ((0.049, 0.066, 0.146), Step.MORE, 6, None),  # P is 0.949
        ((0.08, -0.06, -0.1), Step.REJECT, 3, "not_better"),
        ((0.05, 0.07, 0.15, 0.06, 0.1, 0.08), Step.ACCEPT, 6, None),
        ((0.05, 0.07, 0.15, -0.1, -0.05, 0.0), Step.REJECT, 6, "not_better"),
    ],
)
def test_the_steps_of_the_gate(
    gains: tuple[float, ...], step: Step, n_pairs: int, reason: str | None
) -> None:
    decision = judge(gains)
    assert (decision.step, decision.n_pairs, decision.reason) == (step, n_pairs, reason)


@pytest.mark.parametrize(
    ("gains", "step", "n_pairs"),
    [
        ((), Step.MORE, 1),
        ((0.0,), Step.REJECT, 1),
        ((0.02,), Step.MORE, 3),
        ((0.02, 0.03, 0.01), Step.ACCEPT, 3),
        ((0.02, -0.03, 0.01), Step.REJECT, 3),
    ],
)
def test_gate_the_steps_of_the_confirmation(gains: tuple[float, ...], step: Step, n_pairs: int) -> None:
    decision = confirm(gains)
    assert (decision.step, decision.n_pairs) == (step, n_pairs)


def test_gate_ties_and_rounding_are_never_accepted() -> None:
    assert p_better((0.0, 0.0, 0.0)) == 0.5
    assert judge((1e-12, 1e-12, 1e-12)).step is Step.REJECT
    assert judge((FLOOR_BPB / 10,) * 3).step is Step.REJECT


@pytest.mark.parametrize("gains", [(), (0.1,), (0.1, float("nan"), 0.1)])
def test_gate_what_is_no_sample_is_refused(gains: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="two finite gains"):
        p_better(gains)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("noise", NOISES)
def test_gate_at_most_one_change_in_twenty_that_does_nothing_is_kept(noise: str, spread: float) -> None:
    found = simulate(NOISES[noise], spread=spread, gain=0.0, n_trials=N_TRIALS, seed=1)
    assert found.accepted <= ALPHA / 2, "with room for what the simulation does not know"


@pytest.mark.parametrize(("gain_in_spreads", "power"), [(1.0, 0.4), (1.5, 0.7), (2.0, 0.9), (3.0, 0.98)])
def test_gate_what_is_really_better_is_found(gain_in_spreads: float, power: float) -> None:
    found = simulate(NOISES["normal"], spread=0.02, gain=0.02 * gain_in_spreads, n_trials=N_TRIALS, seed=2)
    assert found.accepted >= power


def test_gate_a_change_that_does_nothing_costs_less_than_three_trainings() -> None:
    found = simulate(NOISES["normal"], spread=0.02, gain=0.0, n_trials=N_TRIALS, seed=3)
    assert found.n_trainings < 3


def test_gate_a_bootstrap_of_three_pairs_would_keep_noise() -> None:
    rng = np.random.default_rng(4)
    share = float(np.mean([bootstrap_p(rng.normal(size=3)) >= 0.95 for _ in range(2000)]))
    assert share > 2 * ALPHA


def test_gate_every_noise_is_symmetric() -> None:
    rng = np.random.default_rng(5)
    draw: Callable[..., object]
    for draw in NOISES.values():
        values = np.asarray(draw(rng, (20_000,)))
        assert abs(float(np.mean(values > 0)) - 0.5) < 0.02


def test_gate_over_whole_studies_neither_chance_nor_known_seeds_of_the_gate_keep_much() -> None:
    secret = simulate_studies(gain=0.0, n_studies=60, seed=8)
    assert secret.kept <= ALPHA / 2
    assert secret.placebos_kept <= ALPHA / 2
    known = simulate_studies(gain=0.0, n_studies=60, seed=9, gate_is_known=True)
    assert known.kept <= 0.25, "the confirmation's seeds are fresh"
