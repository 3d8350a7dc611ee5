"""Intervals, differences and power: against scipy, against brute force, and their coverage by simulation."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as reference

from tests.conftest import ROOT
from tracker.stats import (
    Z90,
    Z95,
    Interval,
    StratifiedDraws,
    anytime_interval,
    anytime_stratified,
    bootstrap_interval,
    independent_difference,
    items_for_precision,
    mcnemar,
    mean_interval,
    median_interval,
    normal_interval,
    normal_stderr,
    paired_difference,
    published_difference,
    published_share,
    refutes,
    share_interval,
    smallest_detectable_difference,
    stderr_of_mean,
    t_interval,
)

STRAY_QUANTILE = re.compile(r"(?<![\d.])(1\.96\d*|1\.95996\d*|1\.64\d*|2\.576?)(?![\d.])")


def test_quantiles_of_intervals_are_written_down_nowhere_else() -> None:
    sources = [
        path
        for top in ("tracker", "runners", "app")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".sql")
    ]
    assert len(sources) > 200
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources
        if path != ROOT / "tracker" / "stats.py"
        for line in path.read_text().splitlines()
        if STRAY_QUANTILE.search(line.partition("#")[0])
    ]
    assert lines == []


def test_normal_quantiles_are_exact() -> None:
    assert (reference.norm.cdf(Z95), reference.norm.cdf(Z90)) == pytest.approx((0.975, 0.95), abs=1e-15)


def test_normal_interval_is_cut_to_the_scale_and_gives_its_error_back() -> None:
    found = normal_interval(0.5, 0.1)
    assert (found.low, found.high) == pytest.approx(reference.norm.interval(0.95, 0.5, 0.1))
    assert normal_stderr(found.low, found.high) == pytest.approx(0.1)
    assert normal_interval(0.99, 0.1, least=0.0, most=1.0).high == 1.0


def test_t_interval_of_gains_is_not_cut() -> None:
    gains = [-0.2, 0.1, 3.0]
    found = t_interval(gains)
    assert (found.low, found.high) == pytest.approx(
        reference.t.interval(0.95, 2, np.mean(gains), reference.sem(gains))
    )


@pytest.mark.parametrize(
    ("n_hits", "n", "expected"),
    [(0, 100, (0.0, 0.0362)), (5, 100, (0.0164, 0.1128)), (3, 3, (0.2924, 1.0))],
)
def test_share_interval_is_the_exact_one(n_hits: int, n: int, expected: tuple[float, float]) -> None:
    found = share_interval(n_hits, n)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)
    exact = reference.binomtest(n_hits, n).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_share_interval_of_nothing_is_unknown() -> None:
    assert share_interval(0, 0) is None


def holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


@pytest.mark.parametrize(("n_right", "n"), [(0, 8), (3, 8), (8, 8), (57, 96), (1319, 1319)])
def test_a_proportion_has_wilsons_interval(n_right: int, n: int) -> None:
    found = mean_interval([1] * n_right + [0] * (n - n_right))
    wilson = reference.binomtest(n_right, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))
    assert found.stderr == pytest.approx(math.sqrt(n_right / n * (1 - n_right / n) / n))


def test_other_values_have_students_interval() -> None:
    values = [0.2, 0.4, 0.45, 0.5, 0.9]
    found = mean_interval(values)
    low, high = reference.t.interval(0.95, 4, np.mean(values), reference.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.stderr == pytest.approx(reference.sem(values))


def test_an_interval_never_leaves_the_scale() -> None:
    found = mean_interval([0.9, 1.0, 1.0, 0.2])
    assert (found.low >= 0.0, found.high) == (True, 1.0)


def test_one_partial_value_tells_nothing() -> None:
    assert mean_interval([0.5]) == Interval(0.5, None, 0.0, 1.0)


@pytest.mark.parametrize(
    "values", [[], [1.5], [-0.1, 1.0], [math.nan]], ids=["none", "above", "below", "nan"]
)
def test_what_is_no_score_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one value|in 0\.\.1"):
        mean_interval(values)


def test_an_interval_must_hold_its_value() -> None:
    with pytest.raises(ValueError, match="does not contain"):
        Interval(0.9, 0.1, 0.2, 0.8)


def test_clusters_of_one_change_nothing() -> None:
    values = [1, 0, 1, 1, 0, 1]
    assert mean_interval(values, clusters="abcdef") == mean_interval(values)


def test_the_clustered_standard_error_is_the_double_sum_over_pairs() -> None:
    values = np.array([0.1, 0.3, 0.9, 0.4, 0.2, 0.8, 0.7])
    clusters = ["p", "p", "q", "q", "q", "r", "r"]
    deviation = values - values.mean()
    pairs = sum(
        deviation[i] * deviation[j]
        for i in range(len(values))
        for j in range(len(values))
        if clusters[i] == clusters[j]
    )
    expected = math.sqrt(pairs * 3 / 2) / len(values)  # C/(C-1) with three clusters
    assert mean_interval(values, clusters=clusters).stderr == pytest.approx(expected)


def test_all_of_a_finite_task_leave_no_doubt() -> None:
    assert mean_interval([1, 0, 1, 1], n_total=4) == Interval(0.75, 0.0, 0.75, 0.75)
    assert anytime_interval([1, 0, 1, 1], n_total=4) == Interval(0.75, 0.0, 0.75, 0.75)


def test_more_values_than_the_task_has_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        mean_interval([1, 0, 1], n_total=2)


def test_a_finite_task_narrows_the_interval() -> None:
    values = [1, 0, 1, 1, 0] * 20
    assert mean_interval(values, n_total=150).half_width < 0.65 * mean_interval(values).half_width


def coverage(draws: NDArray[np.float64], truth: NDArray[np.float64] | float, **options: object) -> float:
    truths = np.broadcast_to(truth, len(draws))
    intervals = [mean_interval(list(draw), **options) for draw in draws]  # type: ignore[arg-type]
    return float(np.mean([holds(i, float(t)) for i, t in zip(intervals, truths, strict=True)]))


@pytest.mark.parametrize(("p", "n"), [(0.5, 48), (0.25, 96), (0.9, 96), (0.97, 198)])
def test_wilson_covers_95_percent(p: float, n: int) -> None:
    draws = (np.random.default_rng(1).random((4000, n)) < p).astype(float)
    assert coverage(draws, p) == pytest.approx(0.95, abs=0.02)


def test_students_interval_covers_95_percent() -> None:
    draws = np.random.default_rng(2).beta(2, 3, (4000, 30))
    assert coverage(draws, 0.4) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("is_binary", [True, False], ids=["right or wrong", "partial"])
def test_clusters_cover_95_percent_where_ignoring_them_does_not(is_binary: bool) -> None:
    rng = np.random.default_rng(3)
    n_clusters, size = 40, 10
    of_cluster = rng.beta(1.2, 0.8, (1500, n_clusters, 1))  # some passages are easy, some hard
    chances = np.broadcast_to(of_cluster, (1500, n_clusters, size)).reshape(1500, -1)
    draws = (rng.random(chances.shape) < chances).astype(float)
    if not is_binary:
        draws = 0.5 * draws + 0.5 * chances
    clusters = [k for k in range(n_clusters) for _ in range(size)]
    assert coverage(draws, 0.6, clusters=clusters) == pytest.approx(0.95, abs=0.015)
    assert coverage(draws, 0.6) < 0.8


@pytest.mark.parametrize(("n_items", "repeats"), [(30, 4), (30, 16), (150, 4)])
def test_repeated_items_cover_95_percent_where_counting_each_answer_does_not(
    n_items: int, repeats: int
) -> None:
    rng = np.random.default_rng(5)
    chances = rng.beta(0.5, 0.5, (1500, n_items, 1))  # AIME: most problems are solved nearly always or never
    draws = (rng.random((1500, n_items, repeats)) < chances).astype(float).reshape(1500, -1)
    items = [item for item in range(n_items) for _ in range(repeats)]
    assert coverage(draws, 0.5, clusters=items) == pytest.approx(0.95, abs=0.015)
    assert coverage(draws, 0.5) < 0.86


@pytest.mark.parametrize("n", [50, 200, 380])
def test_a_draw_from_a_finite_task_covers_95_percent(n: int) -> None:
    rng = np.random.default_rng(4)
    items = (np.arange(400) < 280).astype(float)
    draws = np.array([rng.permutation(items)[:n] for _ in range(3000)])
    assert 0.94 <= coverage(draws, 0.7, n_total=400) <= 0.985


CASES = [(0.5, None, 0.05), (0.85, None, None), (0.9, 300, 0.05), (0.3, 300, None), (0.98, 500, 0.03)]


@pytest.mark.parametrize(("p", "n_total", "half_width"), CASES)
def test_the_anytime_interval_holds_at_every_look(
    p: float, n_total: int | None, half_width: float | None
) -> None:
    """The share of runs that miss the truth at any look stays below 5%.

    An interval is never wider than the earlier ones, so that the later looks stand for every look before.
    """
    rng = np.random.default_rng(5)
    n_runs, longest = 150, n_total or 400
    missed = 0
    for _ in range(n_runs):
        if n_total:
            values = rng.permutation((np.arange(n_total) < p * n_total).astype(float))
        else:
            values = (rng.random(longest) < p).astype(float)
        looks = (longest // 8, longest // 2, longest - 1)
        looked = [anytime_interval(values[:n], n_total=n_total, half_width=half_width) for n in looks]
        missed += not all(holds(interval, p) for interval in looked)
    assert missed / n_runs <= 0.05


def test_an_anytime_interval_never_widens() -> None:
    values = (np.random.default_rng(13).random(300) < 0.6).astype(float)
    looked = [anytime_interval(values[:n], half_width=0.05) for n in range(1, 300, 13)]
    for earlier, later in itertools.pairwise(looked):
        assert later.low >= min(earlier.low, later.value) - 1e-5
        assert later.high <= max(earlier.high, later.value) + 1e-5


def test_an_ordinary_interval_does_not_hold_at_every_look() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(200):
        values = (rng.random(400) < 0.5).astype(float)
        missed += not all(holds(mean_interval(values[:n]), 0.5) for n in range(10, 401, 10))
    assert missed / 200 > 0.15


def test_the_anytime_interval_is_sharp_where_it_is_meant_to_stop() -> None:
    """About 1.4 times the ordinary one at the target, and never more than 2.3 times it anywhere."""
    rng = np.random.default_rng(7)
    ratios = []
    for _ in range(8):
        values = (rng.random(3000) < 0.7).astype(float)
        n = next(
            n for n in range(900, 3000, 60) if anytime_interval(values[:n], half_width=0.03).half_width < 0.03
        )
        ratios.append(0.03 / mean_interval(values[:n]).half_width)
    assert np.median(ratios) < 1.5
    for n in (30, 300, 3000):
        assert anytime_interval(values[:n]).half_width < 2.3 * mean_interval(values[:n]).half_width


def test_the_anytime_interval_takes_partial_values() -> None:
    values = np.random.default_rng(8).beta(2, 2, 800)
    found = anytime_interval(values)
    assert holds(found, 0.5)
    assert found.half_width < 0.06


def test_items_not_seen_bound_the_anytime_interval() -> None:
    found = anytime_interval([1.0] * 90, n_total=100)
    assert found.low >= 0.90
    assert found.high == 1.0


def drawn(
    tasks: list[NDArray[np.float64]], n: int, chances: tuple[float, ...], rng: np.random.Generator
) -> StratifiedDraws:
    """The first `n` draws, in which the chances change every ten values with what was seen."""
    left = [list(rng.permutation(task)) for task in tasks]
    values: list[float] = []
    strata, known = [], []
    for _ in range(n):
        tilt = 1 + np.arange(len(tasks)) * (sum(values[: 10 * (len(values) // 10)]) % 3)
        now = np.array(chances) * tilt * [bool(some) for some in left]
        now = now / now.sum()
        stratum = int(rng.choice(len(tasks), p=now))
        values.append(left[stratum].pop())
        strata.append(stratum)
        known.append(now)
    weights = np.full(len(tasks), 1 / len(tasks)).tolist()
    return StratifiedDraws(values, strata, np.array(known), weights, [len(task) for task in tasks])


@pytest.mark.parametrize("half_width", [None, 0.05])
def test_the_stratified_interval_of_one_stratum_is_the_anytime_interval(half_width: float | None) -> None:
    rng = np.random.default_rng(14)
    draws = drawn([(rng.random(300) < 0.7).astype(float)], 120, (1.0,), rng)
    expected = anytime_interval(draws.values, n_total=300, half_width=half_width)
    found = anytime_stratified(draws, half_width=half_width)
    assert asdict(found) == pytest.approx(asdict(expected), abs=1e-6)


@pytest.mark.parametrize("half_width", [None, 0.05])
def test_the_stratified_interval_holds_at_every_look_whatever_decides_the_draws(
    half_width: float | None,
) -> None:
    """Strata of other means and sizes, the last of which ends before the others."""
    rng = np.random.default_rng(15)
    missed = 0
    for _ in range(150):
        sizes, shares = (200, 100, 40), (0.9, 0.5, 0.2)
        tasks = [(rng.random(n) < share).astype(float) for n, share in zip(sizes, shares, strict=True)]
        truth = float(np.mean([task.mean() for task in tasks]))
        draws = drawn(tasks, 250, (0.3, 0.5, 0.2), rng)  # no interval widens: this look stands for all
        missed += not holds(anytime_stratified(draws, half_width=half_width), truth)
    assert missed / 150 <= 0.05


def test_refutes_agrees_with_the_interval_on_both_sides() -> None:
    rng = np.random.default_rng(16)
    tasks = [(rng.random(200) < share).astype(float) for share in (0.8, 0.4)]
    draws = drawn(tasks, 150, (0.5, 0.5), rng)
    found = anytime_stratified(draws, half_width=0.1)
    for mean in (found.low - 1e-4, found.high + 1e-4, 0.0, 1.0):
        assert refutes(draws, mean, half_width=0.1)
    for mean in (found.low + 1e-4, found.value, found.high - 1e-4):
        assert not refutes(draws, mean, half_width=0.1)


def test_all_items_of_all_strata_leave_no_doubt() -> None:
    rng = np.random.default_rng(17)
    tasks = [np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0])]
    assert anytime_stratified(drawn(tasks, 5, (0.5, 0.5), rng)) == Interval(1 / 3, 0.0, 1 / 3, 1 / 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": (0.5, 0.4)}, "add up to 1"),
        ({"strata": [0, 2]}, "not in 0..1"),
        ({"sizes": [5]}, "shapes"),
        ({"strata": [0, 0]}, "a stratum has no value"),
        ({"sizes": [0, 5]}, "more values than a stratum has"),
    ],
)
def test_draws_that_cannot_be_are_refused(change: dict[str, object], said: str) -> None:
    good: dict[str, object] = {
        "values": [1.0, 0.0],
        "strata": [0, 1],
        "chances": np.full((2, 2), 0.5),
        "weights": (0.5, 0.5),
        "sizes": (5, 5),
    }
    with pytest.raises(ValueError, match=said):
        anytime_stratified(StratifiedDraws(**good | change))  # type: ignore[arg-type]


def test_the_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(9).beta(2, 5, 200)
    found = bootstrap_interval(list(values), np.median, n_resamples=4000, seed=1)
    expected = reference.bootstrap((values,), np.median, n_resamples=4000, method="BCa", rng=1)
    assert found.value == pytest.approx(float(np.median(values)))
    assert found.stderr == pytest.approx(expected.standard_error, rel=0.1)
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.01)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.01)


def test_the_bootstrap_takes_pairs_and_repeats_itself() -> None:
    rng = np.random.default_rng(10)
    pairs = [(int(a), int(a if rng.random() < 0.8 else 1 - a)) for a in rng.integers(0, 2, 60)]

    def f1(items: list[tuple[int, int]]) -> float:
        both = sum(gold and predicted for gold, predicted in items)
        return 2 * both / max(1, sum(gold + predicted for gold, predicted in items))

    first = bootstrap_interval(pairs, f1, n_resamples=300, seed=4)
    assert first == bootstrap_interval(pairs, f1, n_resamples=300, seed=4)
    assert first != bootstrap_interval(pairs, f1, n_resamples=300, seed=5)
    assert 0.0 < first.low < first.value < first.high < 1.0


def test_a_statistic_that_never_varies_has_no_spread() -> None:
    assert bootstrap_interval([1.0] * 20, np.mean) == Interval(1.0, 0.0, 1.0, 1.0)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    a = [1] * 10 + [0] * 3 + [1] * 20
    b = [0] * 10 + [1] * 3 + [1] * 20
    found = mcnemar(a, b)
    assert (found.n_only_a, found.n_only_b) == (10, 3)
    assert found.p_value == pytest.approx(reference.binomtest(3, 13).pvalue)
    assert mcnemar(a, a).p_value == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_mcnemar_with_clusters_is_every_swap_of_whole_clusters_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_clusters = 3 + seed
    clusters = rng.integers(0, n_clusters, 6 + 4 * seed)
    a, b = rng.integers(0, 2, (2, len(clusters)))
    sums = [int((a - b)[clusters == c].sum()) for c in range(n_clusters)]
    swapped = [
        sum(s * d for s, d in zip(signs, sums, strict=True))
        for signs in itertools.product((1, -1), repeat=n_clusters)
    ]
    expected = np.mean([abs(total) >= abs(sum(sums)) for total in swapped])
    assert mcnemar(a, b, clusters=list(clusters)).p_value == pytest.approx(expected)


def test_mcnemar_with_clusters_of_one_is_the_test_without() -> None:
    a, b = [1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 0, 0]
    assert mcnemar(a, b, clusters="abcdef") == mcnemar(a, b)
    # every item twice: twice the pairs, but no more evidence than one of each
    assert mcnemar(a * 2, b * 2, clusters="abcdef" * 2).p_value == mcnemar(a, b).p_value


def test_mcnemar_with_clusters_rejects_equal_models_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(40), 5)
    rejected = {True: 0, False: 0}
    for _ in range(400):
        better = np.repeat(rng.normal(0, 1.5, 40), 5)  # each passage suits one of two equal models
        a, b = (rng.random((2, 200)) < 1 / (1 + np.exp([-better, better]))).astype(float)
        for is_clustered in rejected:
            rejected[is_clustered] += (
                mcnemar(a, b, clusters=list(clusters) if is_clustered else None).p_value < 0.05
            )
    assert rejected[True] / 400 < 0.075
    assert rejected[False] / 400 > 0.10


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.5] * 3, 0.375, 0.625), ([0.3] * 9, 0.27, 0.37), ([0.5, 0.5], 1 / 3, 2 / 3)],
)
def test_equal_partial_credit_is_as_unsure_as_one_more_item(
    values: list[float], low: float, high: float
) -> None:
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_equal_partial_credit_of_a_task_asked_almost_whole_leaves_what_is_unseen() -> None:
    found = mean_interval([0.5] * 9, n_total=10)
    assert (found.low, found.high) == pytest.approx((0.45, 0.55))


def test_equal_partial_credit_in_clusters_is_as_unsure_as_one_more_cluster() -> None:
    found = mean_interval([0.5] * 20, clusters=list("aaaaabbbbbcccccddddd"))
    assert (found.low, found.high) == pytest.approx((0.4, 0.6))


@pytest.mark.parametrize(
    ("a", "b", "clusters", "low", "high"),
    [
        ([0.5] * 5, [0.2] * 5, None, 0.5 / 6, 2.5 / 6),
        ([0.5] * 5, [0.5] * 5, None, -1 / 6, 1 / 6),
        ([1.0] * 6, [1.0] * 6, "aabbcc", -0.25, 0.25),
    ],
    ids=["a constant difference", "none", "0/1 in clusters that always agree"],
)
def test_an_equal_difference_is_as_unsure_as_one_more_item(
    a: list[float], b: list[float], clusters: str | None, low: float, high: float
) -> None:
    found = paired_difference(a, b, clusters=clusters)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_models_compared_on_different_numbers_of_items_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 3"):
        paired_difference([1, 0], [1, 0, 1])


def test_a_paired_difference_is_tighter_than_two_separate_scores() -> None:
    rng = np.random.default_rng(11)
    ease = rng.random(400)
    luck = rng.random(400)
    a, b = (luck < ease**0.5).astype(float), (luck < ease).astype(float)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert found.half_width < math.hypot(mean_interval(a).half_width, mean_interval(b).half_width)


@pytest.mark.parametrize("n", [30, 200])
def test_a_paired_difference_covers_95_percent(n: int) -> None:
    rng = np.random.default_rng(12)
    hits = []
    for _ in range(3000):
        ease = rng.random(n)
        a, b = rng.random(n) < np.sqrt(ease), rng.random(n) < ease  # 2/3 and 1/2 on average
        hits.append(holds(paired_difference(a.astype(float), b.astype(float)), 1 / 6))
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("clustered", [False, True], ids=["items", "clusters"])
def test_a_difference_looked_at_five_times_has_the_interval_of_99_percent(clustered: bool) -> None:
    rng = np.random.default_rng(13)
    n = 600
    luck, clusters = rng.random(n), [str(i // 3) for i in range(n)] if clustered else None
    a, b = (luck < 0.62).astype(float), (luck < 0.6).astype(float)
    a[:40], b[:40] = b[:40].copy(), 1 - b[:40]
    found = paired_difference(a, b, clusters=clusters, n_looks=5)
    drawn = clustered_means(a - b, clusters or [str(i) for i in range(n)], rng, n_resamples=20_000)
    low, high = np.quantile(drawn, [0.005, 0.995])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    once = paired_difference(a, b, clusters=clusters)
    assert found.low < once.low < once.value < once.high < found.high


def clustered_means(
    values: np.ndarray, clusters: list[str], rng: np.random.Generator, *, n_resamples: int
) -> np.ndarray:
    """Means of resamples of whole clusters, which are of one size."""
    sums = np.array([values[[name == one for name in clusters]].mean() for one in dict.fromkeys(clusters)])
    return sums[rng.integers(0, len(sums), (n_resamples, len(sums)))].mean(axis=1)


def test_a_look_must_be_planned() -> None:
    with pytest.raises(ValueError, match="n_looks"):
        paired_difference([1.0, 0.0], [1.0, 1.0], n_looks=0)


def test_two_models_that_always_agree_may_still_differ() -> None:
    found = paired_difference([1.0] * 20, [1.0] * 20)
    assert found.low < 0.0 == found.value < found.high


@pytest.mark.parametrize(
    ("n", "correlation", "points"),
    [(30, 0.0, 0.36), (164, 0.5, 0.109), (198, 0.7, 0.077), (1319, 0.0, 0.055), (12032, 0.5, 0.013)],
)
def test_the_smallest_detectable_difference_is_that_of_the_table(
    n: int, correlation: float, points: float
) -> None:
    found = smallest_detectable_difference(n, correlation=correlation)
    assert found == pytest.approx(points, abs=0.0015 if points < 0.1 else 0.006)


def test_stderr_of_a_mean_of_any_unit_counts_a_repeated_cluster_once() -> None:
    values, clusters = [3.0, 7.5, -2.0, 9.0, 4.0], ["a", "b", "c", "d", "e"]
    plain = stderr_of_mean(values, clusters=clusters)
    assert plain == pytest.approx(float(np.std(values, ddof=1)) / math.sqrt(5))
    assert stderr_of_mean(values * 8, clusters=clusters * 8) == pytest.approx(plain)
    assert plain is not None
    assert (stderr_of_mean(values * 8) or 0) < plain / 2
    assert stderr_of_mean([3.0]) is None
    assert stderr_of_mean([3.0, 4.0], clusters=["a", "a"]) is None


def test_a_published_share_of_all_or_nothing_is_not_certain() -> None:
    assert published_share(1.0, 50) == pytest.approx((1 - 1.64485**2 / (50 + 1.64485**2), 1.0), abs=1e-5)
    assert published_share(0.0, 50)[0] == 0.0
    low, high = published_difference(1.0, 1.0, 50)
    assert low == pytest.approx(-high)
    assert high > 0.05


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9, 0.98, 1.0])
@pytest.mark.parametrize("n", [30, 200])
def test_published_shares_and_their_differences_cover_90_percent(p: float, n: int) -> None:
    """Exactly, over all outcomes; a discrete share cannot be 90% everywhere."""
    hits = np.arange(n + 1)
    weights, other = reference.binom.pmf(hits, n, p), reference.binom.pmf(hits, n, 0.5)
    ends = [published_share(k / n, n) for k in hits]
    assert sum(w for w, (low, high) in zip(weights, ends, strict=True) if low <= p <= high) >= 0.85
    covered = sum(
        weights[i] * other[j]
        for i, j in itertools.product(hits, hits)
        if weights[i] * other[j] > 1e-9
        and published_difference(i / n, j / n, n)[0] <= p - 0.5 <= published_difference(i / n, j / n, n)[1]
    )
    assert covered >= 0.88


@pytest.mark.parametrize(("half_width", "n_total"), [(0.1, 400), (0.05, 1319), (0.03, 12_000)])
def test_items_for_precision_is_where_the_interval_of_one_half_gets_that_narrow(
    half_width: float, n_total: int
) -> None:
    found = items_for_precision(half_width, n_total=n_total)

    def wide(n: int, every: int = 2) -> float:
        values = [float(place % every > 0) for place in range(n)]
        return anytime_interval(values, n_total=n_total, half_width=half_width).half_width

    assert wide(found) <= half_width < wide(found - 1)
    assert wide(found, every=10) < half_width  # a score of 0.9 needs fewer


def test_items_for_precision_are_all_where_fewer_do_not_do() -> None:
    assert items_for_precision(0.001, n_total=300) == 300


# --- medians, and differences of independent estimates ------------------------------------------------------


@pytest.mark.parametrize("n", [6, 7, 12, 24, 71, 160])
def test_the_interval_of_a_median_is_that_of_scipy(n: int) -> None:
    values = list(np.random.default_rng(n).lognormal(5, 1, n))
    found = median_interval(values)
    assert found is not None
    expected = reference.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert (found.low, found.high) == (expected.low, expected.high)
    assert found.value == pytest.approx(float(np.median(values)))


def test_the_interval_of_a_median_needs_six_values() -> None:
    assert median_interval([1, 2, 3, 4, 5]) is None
    assert median_interval([]) is None
    assert median_interval([3.0] * 6) == Interval(3.0, None, 3.0, 3.0)


@pytest.mark.parametrize("n", [12, 24, 160])
@pytest.mark.parametrize("kind", ["skewed", "some at the limit", "mostly at the limit"])
def test_the_interval_of_a_median_covers_tokens_of_episodes(n: int, kind: str) -> None:
    """Tokens are skewed, and of episodes that are cut short many are equal."""
    rng = np.random.default_rng(n)
    share = {"skewed": 0.0, "some at the limit": 0.3, "mostly at the limit": 0.7}[kind]
    at_limit = rng.random((2000, n)) < share
    draws = np.where(at_limit, 1600.0, np.minimum(rng.lognormal(5.5, 1.0, (2000, n)), 1600.0))
    all_draws = np.where(
        rng.random(400_000) < share, 1600.0, np.minimum(rng.lognormal(5.5, 1.0, 400_000), 1600.0)
    )
    truth = float(np.median(all_draws))
    found = [median_interval(list(draw)) for draw in draws]
    assert np.mean([one is not None and holds(one, truth) for one in found]) >= 0.94


def test_a_difference_of_independent_shares_is_newcombes() -> None:
    """His example, method 10: 56 of 70 minus 48 of 80 (Stat. Med. 17:873, 1998, table II)."""
    shares = [mean_interval([1.0] * k + [0.0] * (n - k)) for k, n in ((56, 70), (48, 80))]
    found = independent_difference(*shares)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_difference_of_independent_shares_covers_95_percent_over_all_shares() -> None:
    """Exactly, for 24 items on each side: 95% on average and never far below, as Wilson's interval."""
    n = 24
    each = [mean_interval([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)]
    found = [[independent_difference(a, b) for b in each] for a in each]
    low, high = (np.array([[getattr(one, end) for one in row] for row in found]) for end in ("low", "high"))
    shares = np.linspace(0.02, 0.98, 49)
    weights = {p: reference.binom.pmf(np.arange(n + 1), n, p) for p in shares}
    covered = [
        float(weights[p] @ ((low <= p - q + 1e-12) & (p - q <= high + 1e-12)) @ weights[q])
        for p in shares
        for q in shares
    ]
    assert np.mean(covered) >= 0.95
    assert np.quantile(covered, 0.05) >= 0.935
    assert min(covered) >= 0.91
