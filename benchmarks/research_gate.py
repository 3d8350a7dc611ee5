"""False accepts and power of the gate, and the savings of pairing and stopping early.

`python -m benchmarks.research_gate [--trials N] [--json]`: simulated trials go through the real gate and its
confirmation. First the false accepts under noise of several shapes and spreads, then the power for true
gains, then the changes that were measured on the `cpu` tier, each compared with two methods that save
nothing: always all pairs, and as many trainings under unrelated seeds as are needed for the same power.
Last, whole studies, in which trials are not independent: all are compared with the same trainings of the
incumbent, and each change that is kept becomes the next incumbent.

A simulated placebo is the real one: a change whose only effect is another initialization and data order. Of
all changes without effect it is the noisiest, because pairing removes none of its noise; and since P(better)
is scale-free, its rate also holds for less noisy ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.research.gate import LOOKS, N_CONFIRM, Decision, Step, confirm, judge

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]

N_TRIALS = 20_000
SPREADS = (0.001, 0.01, 0.08)  # of a paired gain, in bpb: the least, a common and the largest measured one
SEED_SPREAD = 0.025  # of one training on the `cpu` tier between seeds
N_STUDY_TRIALS = 30
MAX_UNPAIRED = 200  # trainings of each side at which the search for equal power stops


def _lucky(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """The difference of two trainings, each of which diverges one time in seven."""
    cliffs = (rng.random(shape) < 0.15) * 3.0 - (rng.random(shape) < 0.15) * 3.0
    return cliffs + rng.normal(0.0, 0.2, shape)


NOISES: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "t, 3 degrees": lambda rng, shape: rng.standard_t(3, size=shape),
    "cauchy": lambda rng, shape: rng.standard_cauchy(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, size=shape),
    "cliffs": _lucky,
    "plus or minus one value": lambda rng, shape: (
        rng.choice([-1.0, 1.0], size=shape) + rng.normal(0, 0.05, shape)
    ),
}
# bpb saved on `val` and its spread over three pairs, from `benchmarks.research_effects` (docs/benchmarks.md)
MEASURED: Mapping[str, tuple[float, float]] = {
    "batch 1/2, steps x2": (0.115, 0.028),
    "no warm-up": (0.093, 0.019),
    "four at once": (0.041, 0.045),
    "beta1 0.8": (0.094, 0.024),
    "one more layer": (0.044, 0.022),
    "matrix LR x2": (-0.002, 0.006),
    "cool-down 20 %": (0.043, 0.003),
    "matrix LR x4": (-0.061, 0.079),
    "beta2 0.999": (0.018, 0.001),
    "beta2 0.99": (0.013, 0.004),
    "embedding LR x3.3": (0.0, 0.015),
    "beta2 0.9": (-0.013, 0.004),
    "warm-up 10 %": (-0.036, 0.023),
}


@dataclass(frozen=True, slots=True)
class Simulated:
    """Shares and means over the simulated trials."""

    passed: float  # before confirmation
    accepted: float  # after confirmation
    n_trainings: float  # per trial; the parents of the looks are cached, those of the confirmation are not


def simulate(draw: Draw, *, spread: float, gain: float, n_trials: int, seed: int) -> Simulated:
    """Send trials with this true gain through the gate."""
    rng = np.random.default_rng(seed)
    looks: Array = gain + spread * draw(rng, (n_trials, LOOKS[-1]))
    fresh: Array = gain + spread * draw(rng, (n_trials, N_CONFIRM))
    n_passed = n_accepted = n_trainings = 0
    for trial in range(n_trials):
        gate = _decided(judge, looks[trial])
        n_trainings += gate.n_pairs
        if gate.step is not Step.ACCEPT:
            continue
        n_passed += 1
        last = _decided(confirm, fresh[trial])
        n_trainings += 2 * last.n_pairs
        n_accepted += last.step is Step.ACCEPT
    return Simulated(n_passed / n_trials, n_accepted / n_trials, n_trainings / n_trials)


def _decided(rule: Callable[[list[float]], Decision], gains: Array) -> Decision:
    """The final decision of the rule, given only the pairs that it asks for."""
    seen: list[float] = []
    while (decision := rule(seen)).step is Step.MORE:
        seen = [float(gain) for gain in gains[: decision.n_pairs]]
    return decision


@dataclass(frozen=True, slots=True)
class SequentialView:
    """Kept changes over whole studies of an agent, all of whose changes have the same true gain."""

    kept: float  # per trial
    n_kept: float  # per study
    with_any: float  # share of studies that keep at least one
    placebos_kept: float  # per placebo


def simulate_studies(
    *, gain: float, n_studies: int, seed: int, gate_is_known: bool = False, spread: float = 0.02
) -> SequentialView:
    """Send whole studies through the gate, whose seeds are drawn afresh for each.

    With `gate_is_known` the agent has found out the seeds of the gate's looks, as a script can report its own
    by the digits of its score, and passes there whatever its change is worth.
    """
    rng = np.random.default_rng(seed)
    n_kept, n_placebos_kept, n_with_any = 0, 0, 0
    for _ in range(n_studies):
        parent: Array = spread / np.sqrt(2) * rng.normal(size=LOOKS[-1])  # its noise under the gate's seeds
        of_study = 0
        for _ in range(N_STUDY_TRIALS):
            n_placebos_kept += _is_kept(
                rng, parent + SEED_SPREAD * rng.normal(size=LOOKS[-1]), spread=SEED_SPREAD
            )
            child: Array = spread / np.sqrt(2) * rng.normal(size=LOOKS[-1])
            looks = np.full(LOOKS[-1], spread) if gate_is_known else gain + parent - child
            if _is_kept(rng, looks, spread=spread, gain=gain):
                of_study += 1
                parent = child
        n_kept += of_study
        n_with_any += of_study > 0
    n_trials = n_studies * N_STUDY_TRIALS
    return SequentialView(
        n_kept / n_trials, n_kept / n_studies, n_with_any / n_studies, n_placebos_kept / n_trials
    )


def _is_kept(rng: np.random.Generator, looks: Array, *, spread: float, gain: float = 0.0) -> bool:
    if _decided(judge, looks).step is not Step.ACCEPT:
        return False
    return _decided(confirm, gain + spread * rng.normal(size=N_CONFIRM)).step is Step.ACCEPT


def bootstrap_p(gains: Array, *, n_resamples: int = 500) -> float:
    """P(better) according to a bootstrap, for comparison only."""
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(gains), (n_resamples, len(gains)))
    return float((gains[picks].mean(axis=1) > 0).mean())


def unpaired_trainings(gain: float, power: float, *, level: float, n_trials: int = 2000) -> int | None:
    """Trainings of a child under unrelated seeds, compared with a parent whose mean is known exactly.

    The parent costs nothing, which favors this method. None: even `MAX_UNPAIRED` do not reach the power.
    """
    from scipy import special

    rng = np.random.default_rng(6)
    for n in (*range(3, 30), *range(30, MAX_UNPAIRED, 5)):
        draws = gain + SEED_SPREAD * rng.normal(size=(n_trials, n))
        t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(n))
        if float((special.stdtr(n - 1, t) >= 1 - level).mean()) >= power:
            return n
    return None


def measured_rows(n_trials: int, level: float) -> list[dict[str, Any]]:
    """For each measured change, the power and cost of the gate, and the cost of the other methods."""
    rows = []
    for name, (gain, spread) in MEASURED.items():
        found = simulate(NOISES["normal"], spread=spread, gain=gain, n_trials=n_trials, seed=7)
        everything = LOOKS[-1] + 2 * N_CONFIRM
        unpaired = unpaired_trainings(gain, found.accepted, level=level) if found.accepted > 0.1 else None
        rows.append(
            {"change": name, "gain": gain, "spread": spread, "all_pairs": everything, "unpaired": unpaired}
            | asdict(found)
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--json", action="store_true")
    n_trials = parser.parse_args().trials
    by_chance = {
        noise: {
            spread: simulate(draw, spread=spread, gain=0.0, n_trials=n_trials, seed=1) for spread in SPREADS
        }
        for noise, draw in NOISES.items()
    }
    power = {
        ratio: simulate(NOISES["normal"], spread=0.02, gain=0.02 * ratio, n_trials=n_trials, seed=2)
        for ratio in (0.5, 1.0, 1.5, 2.0, 3.0)
    }
    rows = measured_rows(max(500, n_trials // 10), by_chance["normal"][0.01].accepted)
    n_studies = max(50, n_trials // N_STUDY_TRIALS)
    sequential = {
        "a change without effect": simulate_studies(gain=0.0, n_studies=n_studies, seed=8),
        "without effect, gate's seeds known": simulate_studies(
            gain=0.0, n_studies=n_studies, seed=9, gate_is_known=True
        ),
        "a gain of half a spread": simulate_studies(gain=0.01, n_studies=n_studies, seed=10),
    }
    if parser.parse_args().json:
        plain = {noise: {s: asdict(f) for s, f in found.items()} for noise, found in by_chance.items()}
        powers = {ratio: asdict(found) for ratio, found in power.items()}
        print(
            json.dumps(
                {"by_chance": plain, "power": powers, "measured": rows}
                | {"sequential": {name: asdict(view) for name, view in sequential.items()}}
            )
        )
        return
    print(f"false accepts of {n_trials:,} trials (before confirmation), by spread in bpb")
    for noise, by_spread in by_chance.items():
        shares = "   ".join(
            f"{s:g}: {100 * f.accepted:.1f} % ({100 * f.passed:.1f} %)" for s, f in by_spread.items()
        )
        print(f"  {noise:<24} {shares}")
    print("power by true gain in spreads, normal noise")
    for ratio, found in power.items():
        print(f"  {ratio:<4} {100 * found.accepted:.0f} %  {found.n_trainings:.1f} trainings")
    _print_measured(rows)
    print(f"whole studies of {N_STUDY_TRIALS} trials ({n_studies:,} of each), secret seeds")
    for name, view in sequential.items():
        print(
            f"  {name:<36} kept {100 * view.kept:.1f} % of trials, {view.n_kept:.2f} per study,"
            f" at least one in {100 * view.with_any:.0f} %; placebos {100 * view.placebos_kept:.1f} %"
        )


def _print_measured(rows: list[dict[str, Any]]) -> None:
    print("measured changes: kept, trainings of the gate, of always all pairs, unpaired at equal power")
    for row in rows:
        unpaired = "" if row["accepted"] <= 0.1 else str(row["unpaired"] or f"> {MAX_UNPAIRED}")
        print(
            f"  {row['change']:<24} {100 * row['accepted']:>4.0f} %  {row['n_trainings']:>5.1f}"
            f"  {row['all_pairs']:>3}  {unpaired}"
        )
    mean = float(np.mean([row["n_trainings"] for row in rows]))
    share = 1 - mean / rows[0]["all_pairs"]
    print(f"  mean {mean:.1f} trainings per trial: {100 * share:.0f}% fewer than always all pairs")


if __name__ == "__main__":
    main()
