"""How sure a score is: intervals, differences and power, as pure functions of the values.

The only module that knows a quantile. Every interval is a 95% one, except where `Z90` says otherwise.
Items take values in 0..1. Miller, "Adding Error Bars to Evals" (arXiv:2411.00640), is the guide; each
function names the source of its formula.
Repeats of one item are a cluster. Not covered: the engine's own noise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

ALPHA = 0.05  # what a 95% interval may miss
# half widths of intervals, in standard deviations of a normal distribution
Z95 = float(special.ndtri(0.975))  # 1.95996…
Z90 = float(special.ndtri(0.95))  # 1.64485…

MAX_BET = 0.75  # share of the capital staked at most; Waudby-Smith & Ramdas 2024, §4.1, allow any below 1
# in units of 1: the best bet is about half-width over variance, from 14,000 easy items down to ten
CONSTANT_BETS = np.geomspace(0.01, 2.56, num=9)
TUNED_SHARE = 0.8  # of the starting capital; the rest costs 3% of width and insures against a wrong target
BISECTIONS = 18  # halvings of 0..1: to 4e-6, less than any shown digit
N_JACKKNIFE_GROUPS = 100  # enough for the acceleration of BCa; keeps slow statistics affordable
FEWEST_FOR_MEDIAN = 6  # values whose extremes enclose the median 95% of the time: 1 - 2 · 2⁻⁶ = 0.97
CHUNK_SIZE = 4_000_000  # resampled values held at once: 32 MB

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its standard error and its 95% interval; `stderr` None: not known."""

    value: float
    stderr: float | None
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check that the interval contains the estimate."""
        if not self.low <= self.value <= self.high:
            raise ValueError(f"interval {self.low}..{self.high} does not contain its value {self.value}")

    @property
    def half_width(self) -> float:
        """The distance to the farther end."""
        return max(self.value - self.low, self.high - self.value)


@dataclass(frozen=True, slots=True)
class StratifiedDraws:
    """Values (n,) drawn one by one without replacement: a stratum by its chance, then one of its items.

    The chances of a draw may depend on all values before it, and are 0 only of a stratum with no item left.
    """

    values: Sequence[float]  # 0..1
    strata: Sequence[int]  # of each value, from 0
    chances: Array  # (n, K) of each stratum to be drawn, which add up to 1
    weights: Sequence[float]  # (K,) of the strata's means, which add up to 1
    sizes: Sequence[int]  # (K,) items of each stratum

    def __post_init__(self) -> None:
        """Check shapes and sums."""
        n, n_strata = len(self.values), len(self.weights)
        if len(self.strata) != n or len(self.chances) != n or len(self.sizes) != n_strata:
            raise ValueError(f"shapes do not agree: {n} values, {n_strata} strata")
        if self.strata and not 0 <= min(self.strata) <= max(self.strata) < n_strata:
            raise ValueError(f"a stratum is not in 0..{n_strata - 1}")
        if not math.isclose(math.fsum(self.weights), 1.0, abs_tol=1e-9) or min(self.weights) <= 0:
            raise ValueError("the weights must be positive and add up to 1")

    @property
    def mean(self) -> float:
        """The weighted mean of the strata's means; each must have a value."""
        return _StrataTable.of(self).mean


@dataclass(frozen=True, slots=True)
class McNemar:
    """The items on which two models disagree, and the p-value of the difference."""

    n_only_a: int
    n_only_b: int
    p_value: float  # two-sided, exact


def normal_interval(
    value: float, stderr: float, *, least: float = -math.inf, most: float = math.inf
) -> Interval:
    """An estimate whose error is normal, cut to `least`..`most`."""
    reach = Z95 * stderr
    return Interval(value, stderr, max(least, value - reach), min(most, value + reach))


def normal_stderr(low: float, high: float) -> float:
    """The standard error that a published 95% interval implies if its error is normal."""
    return (high - low) / (2.0 * Z95)


def t_interval(values: Sequence[float]) -> Interval:
    """The mean of two or more unbounded values, with its interval by Student's t."""
    mean, stderr = fmean(values), stdev(values) / math.sqrt(len(values))
    reach = float(special.stdtrit(len(values) - 1, 1 - ALPHA / 2)) * stderr
    return Interval(mean, stderr, mean - reach, mean + reach)


def median_interval(values: Sequence[float]) -> Interval | None:
    """The median with the interval between two order statistics, whatever the distribution; None below 6.

    From the binomial distribution of how many values lie below the median (Conover, Practical Nonparametric
    Statistics, §3.2): it covers at least 95% where the values are independent.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64))
    n = sample.size
    if n < FEWEST_FOR_MEDIAN:
        return None
    below = int(special.bdtrik(ALPHA / 2, n, 0.5))  # rounding may have made it one too many
    below -= bool(special.bdtr(below, n, 0.5) > ALPHA / 2)
    return Interval(float(np.median(sample)), None, float(sample[below]), float(sample[n - 1 - below]))


def share_interval(n_hits: int, n: int) -> Interval | None:
    """A share with the exact interval of Clopper and Pearson (Biometrika 26, 1934); None of nothing."""
    if n == 0:
        return None
    low = float(special.betaincinv(n_hits, n - n_hits + 1, ALPHA / 2)) if n_hits else 0.0
    high = float(special.betaincinv(n_hits + 1, n - n_hits, 1 - ALPHA / 2)) if n_hits < n else 1.0
    return Interval(n_hits / n, None, low, high)


def independent_difference(a: Interval, b: Interval) -> Interval:
    """`a` minus `b`, two estimates of different items, from both intervals.

    The method MOVER (Zou and Donner, Stat. Med. 27, 2008), which for Wilson's intervals of two shares is
    method 10 of Newcombe (Stat. Med. 17:873, 1998).
    """
    below, above = (
        math.hypot(a.value - a.low, b.high - b.value),
        math.hypot(a.high - a.value, b.value - b.low),
    )
    value = a.value - b.value
    return Interval(value, None, value - below, value + above)


def published_share(value: float, n: int) -> tuple[float, float]:
    """The ends of the 90% interval of a share of which only the value and the number of items are known.

    By Wilson (J. Am. Stat. Assoc. 22, 1927). Where items give part of a point it is wider than it need be.
    """
    square = Z90**2
    centre = (value + square / (2 * n)) / (1 + square / n)
    reach = Z90 * math.sqrt(value * (1 - value) / n + square / (4 * n**2)) / (1 + square / n)
    return max(min(value, centre - reach), 0.0), min(max(value, centre + reach), 1.0)


def published_difference(first: float, second: float, n: int) -> tuple[float, float]:
    """The ends of the 90% interval of the difference of two such shares, as if of independent items.

    Newcombe's method 10 (Stat. Med. 17:873, 1998), from the intervals of both. Two models that answered the
    same items differ less by chance, so it is wider than a paired one.
    """
    (low_1, high_1), (low_2, high_2) = published_share(first, n), published_share(second, n)
    found = independent_difference(
        Interval(first, None, low_1, high_1), Interval(second, None, low_2, high_2)
    )
    return found.low, found.high


def stderr_of_mean(values: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> float | None:
    """The standard error of a mean of values of any unit; cluster-robust where a cluster repeats.

    None where it cannot be known: one value, or one cluster.
    """
    sample = np.asarray(values, dtype=np.float64)
    groups = _groups(clusters, len(sample))
    variance, degrees = _variance_of_mean(sample, groups)
    return math.sqrt(variance) if degrees >= 1 else None


def mean_interval(
    values: Sequence[float], *, clusters: Sequence[Hashable] | None = None, n_total: int | None = None
) -> Interval:
    """The mean of `values` (0..1) with its interval.

    Single 0/1 values: Wilson's score interval (JASA 22, 1927). Other values: Student's t, clipped to 0..1,
    and never narrower than one more item could move the mean, since equal values do not show their spread.
    `clusters` names the group of each item; where one repeats, the standard error is cluster-robust with
    C/(C−1) correction (Miller 2024, §2.2 and appendix A) and C−1 degrees of freedom, and 0/1 values get
    Wilson's interval at the effective sample size (Franco et al., J. Surv. Stat. Methodol. 7, 2019).
    `n_total`: the items are a random draw from this many, and the interval is for the mean of all: the
    variance shrinks by (N−n)/(N−1) (Cochran, Sampling Techniques, 1977, §2.6), to nothing when all are in;
    0/1 values, of which the task holds a whole number, get half a step of 1/N more on each side.

    Raises:
        ValueError: no values, one outside 0..1, or lengths that do not agree.
    """
    sample = _fractions(values)
    remaining = _remaining(len(sample), n_total)
    mean = _mean(sample)
    groups = _groups(clusters, len(sample))
    if remaining == 0.0:
        return Interval(mean, 0.0, mean, mean)
    if groups is not None and groups.max() == 0:
        return Interval(mean, None, 0.0, 1.0)  # a single cluster has no variance between clusters
    variance, degrees = _variance_of_mean(sample, groups)
    if _is_binary(sample):
        found = _wilson(sample, groups, remaining)
        half_step = 1 / (2 * n_total) if n_total else 0.0
        low, high = found.low - half_step, found.high + half_step
        stderr = found.stderr
    elif degrees < 1:
        low, high, stderr = 0.0, 1.0, None
    else:
        stderr = math.sqrt(variance * remaining)
        reach = float(special.stdtrit(degrees, 1 - ALPHA / 2)) * stderr
        one_low, one_high = _one_more(mean, degrees + 1, least=0.0)
        low, high = min(mean - reach, one_low), max(mean + reach, one_high)
    floor, ceiling = _possible_means(sample, n_total)
    return Interval(mean, stderr, max(floor, low), min(ceiling, high))


def _wilson(sample: Array, groups: NDArray[np.int64] | None, remaining: float) -> Interval:
    p, n = _mean(sample), len(sample)
    quantile = Z95
    variance = p * (1 - p) / n
    n_effective = n / remaining
    if groups is not None:
        variance, degrees = _variance_of_mean(sample, groups)
        quantile = float(special.stdtrit(degrees, 1 - ALPHA / 2))
        # all alike, inside and between: no design effect can be seen, so each cluster counts once
        n_effective = (p * (1 - p) / variance if variance > 0 else degrees + 1) / remaining
    square = quantile**2
    centre = (p + square / (2 * n_effective)) / (1 + square / n_effective)
    root = math.sqrt(p * (1 - p) / n_effective + square / (4 * n_effective**2))
    reach = quantile * root / (1 + square / n_effective)
    stderr = math.sqrt(variance * remaining)
    # the exact ends are p itself at 0 and 1; rounding must not move them past it
    return Interval(p, stderr, min(p, centre - reach), max(p, centre + reach))


def bootstrap_interval(
    values: Sequence[Any], statistic: Callable[..., float], *, n_resamples: int = 1000, seed: int = 0
) -> Interval:
    """`statistic` of `values` with its BCa bootstrap interval, for scores that are not a mean of items.

    Items are whatever `statistic` takes: numbers, or pairs of reference and answer. A statistic with an
    `axis` is computed for all resamples at once. BCa: Efron, JASA 82 (1987); its acceleration is taken from
    a delete-a-group jackknife, so that a slow statistic is called n_resamples + 100 times at most.

    Raises:
        ValueError: no values.
    """
    if len(values) == 0:
        raise ValueError("an interval needs at least one value")
    n = len(values)
    estimate = float(statistic(values))
    if n == 1:
        return Interval(estimate, None, estimate, estimate)
    draws = np.sort(_resampled(values, statistic, n_resamples=n_resamples, seed=seed))
    stderr = float(draws.std(ddof=1))
    if stderr == 0.0:
        return Interval(estimate, 0.0, estimate, estimate)
    low, high = np.quantile(draws, _bca_levels(draws, estimate, _acceleration(values, statistic, seed)))
    return Interval(estimate, stderr, min(estimate, float(low)), max(estimate, float(high)))


def _resampled(
    values: Sequence[Any], statistic: Callable[..., float], *, n_resamples: int, seed: int
) -> Array:
    rng = np.random.default_rng(seed)
    n = len(values)
    if not _takes_axis(statistic, values):
        picks = (rng.integers(0, n, n) for _ in range(n_resamples))
        return np.array([statistic([values[i] for i in pick]) for pick in picks], dtype=float)
    numbers = np.asarray(values, dtype=float)
    rows = max(1, CHUNK_SIZE // n)
    sizes = [min(rows, n_resamples - start) for start in range(0, n_resamples, rows)]
    parts = [statistic(numbers[rng.integers(0, n, (size, n))], axis=1) for size in sizes]
    return np.concatenate([np.asarray(part, dtype=float) for part in parts])


def _takes_axis(statistic: Callable[..., float], values: Sequence[Any]) -> bool:
    if not isinstance(values[0], (int, float, np.number)):
        return False
    try:
        return "axis" in inspect.signature(statistic).parameters
    except ValueError:  # some built-in functions have no signature
        return False


def _acceleration(values: Sequence[Any], statistic: Callable[..., float], seed: int) -> float:
    order = np.random.default_rng(seed).permutation(len(values))
    groups = np.array_split(order, min(len(values), N_JACKKNIFE_GROUPS))
    kept = [np.setdiff1d(order, group) for group in groups]
    left_out = np.array([statistic([values[i] for i in keep]) for keep in kept], dtype=float)
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum())
    return 0.0 if spread == 0.0 else float((deviations**3).sum()) / (6 * spread**1.5)


def _bca_levels(draws: Array, estimate: float, acceleration: float) -> Array:
    below = float((draws < estimate).mean() + (draws == estimate).mean() / 2)
    bias = float(special.ndtri(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws))))
    shifted = bias + np.array([-Z95, Z95])
    return np.asarray(special.ndtr(bias + shifted / (1 - acceleration * shifted)), dtype=float)


def anytime_interval(
    values: Sequence[float], *, n_total: int | None = None, half_width: float | None = None
) -> Interval:
    """The mean with an interval that stays valid at every look and at any stopping time.

    `values` (0..1) stand in the order in which they were drawn at random; with `n_total`, without
    replacement from that many, and the interval is for the mean of all those. `half_width` is what one
    will stop at: the bets are then tuned to be sharpest there; it must not change between looks.
    Betting confidence sequence, a mixture of constant bets and of one tuned by the variance seen so far:
    Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 86, 2024),
    theorem 3; §5 for draws without replacement.

    Raises:
        ValueError: no values, or one outside 0..1.
    """
    sample = _fractions(values)
    n = len(sample)
    remaining = _remaining(n, n_total)
    mean = _mean(sample)
    if remaining == 0.0:
        return Interval(mean, 0.0, mean, mean)
    floor, ceiling = _possible_means(sample, n_total)
    low = _crossing(sample, half_width, n_total, (floor, mean))
    # the upper end is the lower end of the mirrored values
    high = 1 - _crossing(1 - sample, half_width, n_total, (1 - ceiling, 1 - mean))
    stderr = math.sqrt(float(sample.var(ddof=1)) / n * remaining) if n > 1 else None
    return Interval(mean, stderr, max(0.0, min(mean, low)), min(1.0, max(mean, high)))


def items_for_precision(half_width: float, *, n_total: int) -> int:
    """The items of `n_total` after which `anytime_interval` has this half width at a score of one half.

    A forecast: scores near one half need most, those near 0 or 1 fewer.
    """
    alternating = np.arange(n_total) % 2

    def is_narrow(n: int) -> bool:
        found = anytime_interval(alternating[:n].tolist(), n_total=n_total, half_width=half_width)
        return found.half_width <= half_width

    high = 1
    while high < n_total and not is_narrow(high):
        high = min(2 * high, n_total)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_narrow(middle) else (middle, high)
    return high


def anytime_stratified(draws: StratifiedDraws, *, half_width: float | None = None) -> Interval:
    """The weighted mean of all items of several strata, valid at every look and at any stopping time.

    Whatever decides how often each stratum is drawn: before each draw, the sum of what is known and of what
    the draw will say about the rest (its distance from the stratum's mean so far, over its chance; Robins et
    al., JASA 89, 1994) has the mean of all items as its expectation. The bets are those of
    `anytime_interval`, which is the case of one stratum. The estimate is the weighted mean of the strata's
    means.

    Raises:
        ValueError: a stratum has no value, or one is outside 0..1.
    """
    table = _StrataTable.of(draws)
    mean, (floor, ceiling) = table.mean, table.possible_means
    if floor == ceiling:
        return Interval(mean, 0.0, mean, mean)
    low = _last_refuted(_StrataBets(table, half_width), (floor, mean))
    high = 1 - _last_refuted(_StrataBets(table.mirrored, half_width), (1 - ceiling, 1 - mean))
    return Interval(mean, table.stderr, max(0.0, min(mean, low)), min(1.0, max(mean, high)))


def refutes(draws: StratifiedDraws, mean: float, *, half_width: float | None = None) -> bool:
    """Whether `anytime_stratified` excludes this mean, at a fraction of its cost.

    Raises:
        ValueError: a stratum has no value, or one is outside 0..1.
    """
    table = _StrataTable.of(draws)
    floor, ceiling = table.possible_means
    if not floor - 1e-9 <= mean <= ceiling + 1e-9:
        return True
    is_below = mean < table.mean
    bets = _StrataBets(table if is_below else table.mirrored, half_width)
    return float(bets(mean if is_below else 1 - mean).max()) >= math.log(2 / ALPHA)


@dataclass(frozen=True, slots=True)
class _StrataTable:
    """Draws as arrays."""

    sample: Array  # (n,)
    is_of: Array  # (n, K), 1 where the value is of the stratum
    chances: Array  # (n, K)
    weights: Array  # (K,)
    sizes: Array  # (K,)

    @classmethod
    def of(cls, draws: StratifiedDraws) -> _StrataTable:
        sample = _fractions(draws.values)
        sizes = np.asarray(draws.sizes, dtype=float)
        is_of = np.zeros((len(sample), len(sizes)))
        is_of[np.arange(len(sample)), np.asarray(draws.strata, dtype=int)] = 1.0
        counts = is_of.sum(axis=0)
        if not counts.all():
            raise ValueError("a stratum has no value")
        if (counts > sizes).any():
            raise ValueError("more values than a stratum has items")
        return cls(sample, is_of, draws.chances, np.asarray(draws.weights, dtype=float), sizes)

    @property
    def mirrored(self) -> _StrataTable:
        """With every value taken from 1."""
        return replace(self, sample=1 - self.sample)

    @property
    def mean(self) -> float:
        """The weighted mean of the strata's means."""
        return float(
            self.weights @ ((self.is_of * self.sample[:, None]).sum(axis=0) / self.is_of.sum(axis=0))
        )

    @property
    def possible_means(self) -> tuple[float, float]:
        """The means that are still possible given the unseen items; they include the estimate."""
        sums, counts = (self.is_of * self.sample[:, None]).sum(axis=0), self.is_of.sum(axis=0)
        least, mean = float(self.weights @ (sums / self.sizes)), self.mean
        unknown = float(self.weights @ ((self.sizes - counts) / self.sizes))
        return (min(mean, least), max(mean, least + unknown)) if unknown else (mean, mean)

    @property
    def stderr(self) -> float | None:
        """That of the weighted mean; None: a stratum has a single value and more items."""
        variance = 0.0
        for stratum, (weight, size) in enumerate(zip(self.weights, self.sizes, strict=True)):
            values = self.sample[self.is_of[:, stratum] > 0]
            if len(values) == size:
                continue
            if len(values) < 2:
                return None
            share = _remaining(len(values), int(size)) / len(values)
            variance += weight**2 * share * float(values.var(ddof=1))
        return math.sqrt(variance)


class _StrataBets:
    """The logarithm of the capital (n,) after each value, of bets that the mean is larger than the argument.

    Everything is in units of the weight that is still unknown before a draw.
    """

    def __init__(self, table: _StrataTable, half_width: float | None) -> None:
        sample, is_of, chances = table.sample, table.is_of, table.chances
        weights, sizes = table.weights, table.sizes
        n = np.arange(len(sample))
        own = is_of.argmax(axis=1)
        counts, sums = np.cumsum(is_of, axis=0), np.cumsum(is_of * sample[:, None], axis=0)
        before, sums_before = counts - is_of, sums - is_of * sample[:, None]
        unknown = weights * (sizes - before) / sizes  # (n, K)
        self._scale = unknown.sum(axis=1)  # (n,)
        self._known = (weights * sums_before / sizes).sum(axis=1)
        guesses = (0.5 + sums_before) / (before + 1)
        shares = unknown / self._scale[:, None]
        ratios = np.divide(shares, chances, out=np.zeros_like(shares), where=shares > 0)
        guessed = (shares * guesses).sum(axis=1)
        self._drawn = guessed + ratios[n, own] * (sample - guesses[n, own])
        self._least = guessed - (ratios * guesses).max(axis=1)
        constant = np.tile(CONSTANT_BETS[:, None], (1, len(sample)))
        if half_width is None:
            self._bets, start = constant, np.full(len(constant), -math.log(len(constant)))
        else:
            means = (0.5 + sums[n, own]) / (counts[n, own] + 1)
            squares = is_of * ((sample - means) ** 2)[:, None]
            variances = (0.25 + np.cumsum(squares, axis=0) - squares) / (before + 1)  # of earlier values
            spread = (shares * ratios * variances).sum(axis=1)
            start = np.append(np.full(len(constant), (1 - TUNED_SHARE) / len(constant)), TUNED_SHARE)
            self._bets, start = np.vstack((constant, half_width / spread)), np.log(start)
        self._start = start[:, None]

    def __call__(self, mean: float) -> Array:
        expected = np.maximum((mean - self._known) / self._scale, self._least + 1e-12)
        bets = np.minimum(self._bets, MAX_BET / (expected - self._least))
        gains = np.log1p(bets * (self._drawn - expected))
        return np.asarray(np.logaddexp.reduce(np.cumsum(gains, axis=1) + self._start, axis=0))


def anytime_difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of `a` minus `b`, −1..1, on items drawn at random, valid at every look and any stopping time.

    The betting interval of `anytime_interval` for the differences, moved from −1..1 to 0..1. Items are
    independent draws; the interval is for all items of their kind, not only for those of the task.

    Raises:
        ValueError: no values, one outside 0..1, or lengths that do not agree.
    """
    first, second = _pair(a, b)
    found = anytime_interval(list((first - second + 1) / 2))
    stderr = None if found.stderr is None else 2 * found.stderr
    value = min(max(_mean(first - second), 2 * found.low - 1), 2 * found.high - 1)  # but for rounding
    return Interval(value, stderr, 2 * found.low - 1, 2 * found.high - 1)


def refuted_after(a: Sequence[float], b: Sequence[float], difference: float) -> int | None:
    """The items after which `anytime_difference` excludes this difference of −1..1; None: never."""
    first, second = _pair(a, b)
    sample, mean = (first - second + 1) / 2, (difference + 1) / 2
    sides = ((sample, mean), (1 - sample, 1 - mean))
    capital = np.maximum(*(_log_capital(one, at, _bets(one, None), None) for one, at in sides))
    crossed = np.flatnonzero(capital >= math.log(2 / ALPHA))
    return int(crossed[0]) + 1 if len(crossed) else None


def _bets(sample: Array, half_width: float | None) -> tuple[Array, Array]:
    """The bets on each item, one row per strategy, and the logarithm of the capital each starts with."""
    n, n_constant = len(sample), len(CONSTANT_BETS)
    constant = np.tile(CONSTANT_BETS[:, None], (1, n))
    if half_width is None:
        return constant, np.full(n_constant, -math.log(n_constant))
    seen = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(sample)) / (seen + 1)
    variances = (0.25 + np.cumsum((sample - means) ** 2)) / (seen + 1)
    variance_before = np.concatenate(([0.25], variances[:-1]))  # a bet knows only the items before it
    shares = np.append(np.full(n_constant, (1 - TUNED_SHARE) / n_constant), TUNED_SHARE)
    return np.vstack((constant, half_width / variance_before)), np.log(shares)


def _log_capital(sample: Array, mean: float, bets: tuple[Array, Array], n_total: int | None) -> Array:
    """The logarithm of the capital (n,) after each item, of bets that the mean is larger than `mean`."""
    before = np.concatenate(([0.0], np.cumsum(sample)[:-1]))
    left = (n_total - np.arange(len(sample))) if n_total else np.ones(len(sample))
    expected = (n_total * mean - before) / left if n_total else np.full(len(sample), mean)
    expected = np.clip(expected, 1e-12, 1.0)  # only rounding takes it out of 0..1 at possible means
    gains = np.log1p(np.minimum(bets[0], MAX_BET / expected) * (sample - expected))
    return np.asarray(np.logaddexp.reduce(np.cumsum(gains, axis=1) + bets[1][:, None], axis=0))


def _crossing(
    sample: Array, half_width: float | None, n_total: int | None, bounds: tuple[float, float]
) -> float:
    """The largest mean in `bounds` that bets on a larger one have rejected so far, or the lower bound."""
    bets = _bets(sample, half_width)
    return _last_refuted(lambda mean: _log_capital(sample, mean, bets, n_total), bounds)


def _last_refuted(log_capital: Callable[[float], Array], bounds: tuple[float, float]) -> float:
    """The largest mean in `bounds` at which the capital has once been large enough, or the lower bound."""

    def is_refuted(mean: float) -> bool:
        return float(log_capital(mean).max()) >= math.log(2 / ALPHA)

    low, high = bounds
    if not is_refuted(low):
        return low
    for _ in range(BISECTIONS):  # every bet's capital falls as the mean rises
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    n_looks: int = 1,
) -> Interval:
    """Mean of `a` minus `b` on the same items, −1..1, with its interval (Miller 2024, §4.2).

    0/1 values without clusters: the adjusted Wald interval of Bonett & Price (J. Educ. Behav. Stat. 37,
    2012), which does not collapse where the two always agree. Otherwise Student's t, clipped to −1..1, and
    never narrower than one more item, or one more cluster, could move the difference.
    `n_looks`: looks planned before the first item. The interval then holds at whichever of them one stops:
    each may miss an equal share of 5% (Bonferroni; Jennison & Turnbull, Group Sequential Methods, 1999, §9).

    Raises:
        ValueError: no values, one outside 0..1, lengths that do not agree, or no look.
    """
    if n_looks < 1:
        raise ValueError(f"n_looks must be at least 1, got {n_looks}")
    upper = 1 - ALPHA / (2 * n_looks)
    first, second = _pair(a, b)
    difference = first - second
    groups = _groups(clusters, len(difference))
    value, n = _mean(difference), len(difference)
    variance, degrees = _variance_of_mean(difference, groups)
    if degrees < 1:
        return Interval(value, None, -1.0, 1.0)
    stderr = math.sqrt(variance)
    if groups is None and _is_binary(first) and _is_binary(second):
        only_a = (float((difference > 0).sum()) + 1) / (n + 2)
        only_b = (float((difference < 0).sum()) + 1) / (n + 2)
        centre = only_a - only_b
        reach = float(special.ndtri(upper)) * math.sqrt((only_a + only_b - centre**2) / (n + 2))
    else:
        centre, reach = value, float(special.stdtrit(degrees, upper)) * stderr
        one_low, one_high = _one_more(value, degrees + 1, least=-1.0)
        return Interval(
            value, stderr, max(-1.0, min(value - reach, one_low)), min(1.0, max(value + reach, one_high))
        )
    return Interval(
        value, stderr, max(-1.0, min(value, centre - reach)), min(1.0, max(value, centre + reach))
    )


def mcnemar(a: Sequence[float], b: Sequence[float], *, clusters: Sequence[Hashable] | None = None) -> McNemar:
    """Whether two models differ on the same 0/1 items: the exact test of McNemar (Psychometrika 12, 1947).

    It asks how often the difference would be as large if each item's two results were swapped at random.
    Where a cluster repeats, the results of a whole cluster are swapped together: items of one cluster tend
    to agree, so swapping them singly would reject too often.

    Raises:
        ValueError: no values, one that is not 0 or 1, or lengths that do not agree.
    """
    first, second = _pair(a, b)
    if not (_is_binary(first) and _is_binary(second)):
        raise ValueError("the exact test needs values that are 0 or 1")
    only_a, only_b = int((first > second).sum()), int((first < second).sum())
    groups = _groups(clusters, len(first))
    if groups is not None:
        differences = np.bincount(groups, weights=first - second).astype(float)
        return McNemar(only_a, only_b, _swap_p_value(differences))
    tail = float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def _swap_p_value(differences: Array) -> float:
    """Two-sided exact p-value: the share of all sign changes of whole numbers (C,) with as large a sum."""
    steps = np.abs(np.rint(differences)).astype(np.int64)
    reach = int(steps.sum())
    chances = np.zeros(2 * reach + 1)  # of each sum, −reach..reach
    chances[reach] = 1.0
    for step in steps[steps > 0]:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # never wraps: |sum| ≤ reach
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(chances[sums >= abs(round(float(differences.sum())))].sum()))


def smallest_detectable_difference(
    n_items: int, *, score: float = 0.5, correlation: float = 0.0, power: float = 0.8
) -> float:
    """The difference between two models near `score` that `n_items` 0/1 items show with that power.

    `correlation` is that of the two models' items, 0 when they answered different ones (Miller 2024, §5).

    Raises:
        ValueError: a value out of its range.
    """
    if n_items < 1 or not 0 <= score <= 1 or not -1 <= correlation <= 1 or not 0 < power < 1:
        raise ValueError(f"out of range: {n_items=}, {score=}, {correlation=}, {power=}")
    variance = 2 * score * (1 - score) * (1 - correlation) / n_items
    return (Z95 + float(special.ndtri(power))) * math.sqrt(variance)


def _fractions(values: Sequence[float]) -> Array:
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError("an interval needs at least one value")
    if not ((sample >= 0.0) & (sample <= 1.0)).all():  # not-a-number fails this too
        raise ValueError("values must be in 0..1")
    return sample


def _pair(a: Sequence[float], b: Sequence[float]) -> tuple[Array, Array]:
    first, second = _fractions(a), _fractions(b)
    if len(first) != len(second):
        raise ValueError(f"both sides need the same items, got {len(first)} and {len(second)}")
    return first, second


def _mean(sample: Array) -> float:
    return float(sample.mean())


def _one_more(mean: float, n: int, *, least: float) -> tuple[float, float]:
    """The means that one more value, `least` or 1, would give beside the `n` values seen."""
    return (mean * n + least) / (n + 1), (mean * n + 1.0) / (n + 1)


def _is_binary(sample: Array) -> bool:
    return bool(((sample == 0.0) | (sample == 1.0)).all())


def _remaining(n: int, n_total: int | None) -> float:
    """Share of the variance that remains when `n` of `n_total` values are known."""
    if n_total is None:
        return 1.0
    if n_total < n:
        raise ValueError(f"{n} values cannot be drawn from {n_total}")
    return (n_total - n) / max(n_total - 1, 1)


def _possible_means(sample: Array, n_total: int | None) -> tuple[float, float]:
    """The means that are still possible given the unseen items; they include the estimate."""
    if n_total is None:
        return 0.0, 1.0
    total, mean = float(sample.sum()), _mean(sample)
    return min(mean, total / n_total), max(mean, (total + n_total - len(sample)) / n_total)


def _groups(clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.int64] | None:
    """The number of each item's cluster; None when no cluster repeats."""
    if clusters is None:
        return None
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} values")
    numbers: dict[Hashable, int] = {}
    groups = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
    return groups if len(numbers) < n else None


def _variance_of_mean(sample: Array, groups: NDArray[np.int64] | None) -> tuple[float, int]:
    """The estimated variance of the mean and its degrees of freedom."""
    n = len(sample)
    if groups is None:
        groups = np.arange(n)
    sums = np.bincount(groups, weights=sample - sample.mean())
    n_clusters = len(sums)
    if n_clusters < 2:
        return 0.0, 0
    return float((sums**2).sum()) / n**2 * n_clusters / (n_clusters - 1), n_clusters - 1
