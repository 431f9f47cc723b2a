"""Intervals and tests of differences: calibrated, powerful, and as scipy computes them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ifcdsr_core.analysis import significance
from ifcdsr_core.analysis.significance import (
    bootstrap_interval,
    difference_interval,
    half_width,
    holm,
    mean_p,
    permutation_p,
    ratio_interval,
    trend,
)


def test_bootstrap_interval_covers_a_known_mean():
    """95 % intervals of a known mean cover it in about 95 % of the samples, and are as wide as theory says."""
    random = np.random.default_rng(0)
    intervals = np.array([bootstrap_interval(random.normal(1.0, 2.0, 200)) for _ in range(200)])
    covered = ((intervals[:, 0] <= 1.0) & (1.0 <= intervals[:, 1])).mean()
    assert 0.90 <= covered <= 0.99
    assert np.diff(intervals, axis=1).mean() == pytest.approx(2 * 1.96 * 2 / math.sqrt(200), rel=0.05)


def test_bootstrap_interval_is_seeded_and_exact_without_spread():
    values = np.arange(10.0)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(np.full(5, 3.0)) == (3.0, 3.0)


def test_ratio_interval():
    assert ratio_interval(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx((2, 2))
    low, high = ratio_interval(np.array([0.0, 1.0] * 50), np.ones(100))
    assert 0.38 < low < 0.44 and 0.56 < high < 0.62  # half, +- twice 0.05
    assert np.isnan(ratio_interval(np.ones(3), np.zeros(3))).all()


def test_difference_interval():
    random = np.random.default_rng(7)
    low, high = difference_interval(random.normal(3.0, 1.0, 400), random.normal(1.0, 1.0, 400))
    assert low < 2.0 < high and high - low == pytest.approx(2 * 1.96 * math.sqrt(2 / 400), rel=0.1)
    assert difference_interval(np.full(5, 3.0), np.full(9, 1.0)) == (2.0, 2.0)


@pytest.mark.parametrize(
    "of_seeds, of_cases, of_both", [(1, 0, 0), (1, 1, 0), (0.3, 5, 1), (0, 1, 1), (0.3, 1, 1), (0.1, 1, 3)]
)
def test_an_interval_over_seeds_and_cases_holds_the_truth_as_often_as_it_says(of_seeds, of_cases, of_both):
    """Nearly so where three seeds are the larger uncertainty: there twice the error would miss one truth in five."""
    random, missed, rounds = np.random.default_rng(0), 0, 4000
    for _ in range(rounds):
        parts = zip((of_seeds, of_cases, of_both), ((3, 1), (1, 40), (3, 40)), strict=True)
        values = sum(random.normal(0, spread, shape) for spread, shape in parts)
        missed += abs(values.mean()) > half_width(values)
    assert 0.03 < missed / rounds < 0.09


def test_the_test_of_a_mean_rejects_where_the_interval_leaves_zero_out():
    random = np.random.default_rng(2)
    for shape in ((1, 30), (2, 30), (5, 30)):
        for shift in np.linspace(-1, 1, 41):
            values = random.normal(shift, 1, shape) + random.normal(0, 0.3, (shape[0], 1))
            assert (mean_p(values) < 0.05) == (abs(values.mean()) > half_width(values))
    values = random.normal(0.3, 1, (1, 30))
    assert mean_p(values) == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue)  # one seed: a paired t test
    assert mean_p(np.zeros((2, 9))) == 1 and mean_p(np.ones((2, 9))) == 0
    assert math.isnan(mean_p(np.empty((2, 0)))) and math.isnan(mean_p(np.array([[1.0, math.nan]])))


def test_what_seeds_do_to_single_cases_counts_once():
    """Where nothing else varies all values are independent, and the interval is about that of their mean."""
    random = np.random.default_rng(1)
    widths = [half_width(random.normal(size=(9, 200))) for _ in range(200)]
    assert 1 < np.mean(widths) / (1.96 / math.sqrt(9 * 200)) < 1.3  # counted twice, it is 1.42


def test_the_width_by_hand():
    of_seeds = np.array([[-1.0], [0.0], [1.0]])
    assert half_width(of_seeds) == pytest.approx(4.302653 / math.sqrt(3))  # Student's t with 2 degrees of freedom
    assert half_width(np.repeat(of_seeds, 7, axis=1)) == pytest.approx(4.302653 / math.sqrt(3))
    assert half_width(of_seeds.T) == pytest.approx(4.302653 / math.sqrt(3))  # one seed, three cases
    # seeds differ by 2, cases by 6, and together they do nothing: mean squares 4 and 36, none left
    added = np.array([[-1.0], [1.0]]) + np.array([[-3.0, 3.0]])
    freedom = (4 + 36) ** 2 / (4**2 + 36**2)
    assert half_width(added) == pytest.approx(math.sqrt((4 + 36) / 4) * stats.t.ppf(0.975, freedom))
    together = np.array([[1.0, -1.0], [-1.0, 1.0]])
    crossed = added + 2 * together  # mean squares 4, 36, and 16 left: more than seeds have
    assert half_width(crossed) == pytest.approx(math.sqrt(36 / 4) * stats.t.ppf(0.975, 1))
    less = np.array([[-3.0], [3.0]]) + np.array([[-3.0, 3.0]]) + together  # 36, 36 and 4
    freedom = (36 + 36 - 4) ** 2 / (36**2 + 36**2 + 4**2)
    assert half_width(less) == pytest.approx(math.sqrt((36 + 36 - 4) / 4) * stats.t.ppf(0.975, freedom))
    assert half_width(np.ones((1, 1))) == half_width(np.ones((3, 9))) == 0


def test_permutation_test_is_calibrated():
    """Without a difference, p < 0.05 in 5 % of the data sets: of 400, in 8 to 35 with probability 99.8 %. The data are
    like differences of a metric: many exact zeros, the rest skewed but as often up as down."""
    random = np.random.default_rng(1)
    p = []
    for _ in range(400):
        sizes = random.exponential(size=60) * (random.random(60) < 0.6)
        p.append(permutation_p(sizes * random.choice([-1, 1], size=60), samples=499))
    low, high = stats.binom.ppf([0.001, 0.999], 400, 0.05)
    assert low <= (np.array(p) < 0.05).sum() <= high
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)  # uniform, not only in its tail


def test_permutation_test_finds_a_shift():
    """At a shift of 0.4 standard deviations and 100 cases a t-test finds p < 0.05 in 98 % of the data sets."""
    random = np.random.default_rng(2)
    p = [permutation_p(random.normal(0.4, 1.0, 100), samples=499) for _ in range(100)]
    assert (np.array(p) < 0.05).sum() >= 93


@pytest.mark.parametrize("shift", [0.0, 0.15, -0.2])
def test_permutation_test_agrees_with_scipy(shift):
    values = np.random.default_rng(3).normal(shift, 1.0, 120)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    ).pvalue
    ours = permutation_p(values, samples=20_000)
    assert ours == pytest.approx(theirs, abs=4 * math.sqrt(2 * theirs * (1 - theirs) / 20_000) + 1e-4)


def test_permutation_test_approaches_the_exact_one():
    """Against all 2^8 flips of small whole numbers, whose sums tie often."""
    values = np.array([3.0, -1.0, 2.0, 2.0, 0.0, 1.0, -2.0, 3.0]) / 10
    sums = [
        sum(sign * v for sign, v in zip(signs, (3, -1, 2, 2, 0, 1, -2, 3), strict=True))
        for signs in itertools.product((-1, 1), repeat=8)
    ]
    exact = np.mean([abs(s) >= 8 for s in sums])
    assert permutation_p(values, samples=40_000) == pytest.approx(exact, abs=0.01)
    assert permutation_p(values, samples=40_000) == permutation_p(-values[values != 0], samples=40_000)


def test_permutation_test_of_special_cases():
    assert permutation_p(np.zeros(7)) == 1.0
    assert permutation_p(np.array([0.1, 0.2, -0.3])) == 1.0  # the sum is 0 up to rounding: nothing is less extreme
    assert permutation_p(np.ones(200), samples=99) == 0.01  # never 0
    assert math.isnan(permutation_p(np.array([]))) and math.isnan(permutation_p(np.array([1.0, math.nan])))


def test_permutation_test_is_seeded_and_draws_in_parts(monkeypatch):
    values = np.random.default_rng(4).normal(0.1, 1.0, 50)
    first = permutation_p(values, samples=999)
    assert first == permutation_p(values, samples=999)
    monkeypatch.setattr(significance, "CHUNK_ELEMENTS", 7 * 50)
    assert permutation_p(values, samples=999) == pytest.approx(first, abs=0.06)
    assert permutation_p(np.ones(50), samples=998) == 1 / 999  # 998 = 142 * 7 + 4: all of them are drawn


def test_the_correlation_is_spearmans_and_the_p_value_that_of_all_orders():
    values, gain = np.array([1.0, 2, 2, 4, 7]), np.array([0.1, 0.0, 0.5, 0.4, 0.9])
    rho, p = trend(gain, values, np.zeros(5), samples=20_000)
    assert rho == pytest.approx(stats.spearmanr(gain, values).statistic)
    orders = [stats.spearmanr(order, values).statistic for order in itertools.permutations(gain)]
    assert p == pytest.approx(np.mean(np.abs(orders) >= abs(rho) - 1e-9), abs=0.01)
    assert trend(gain, values, np.zeros(5)) == trend(gain, values, np.zeros(5))


def test_a_difference_between_strata_is_no_trend():
    random = np.random.default_rng(1)
    strata = np.repeat(["x", "y"], 200)
    shift = np.repeat([0.0, 100.0], 200)
    values, gain = random.normal(size=400) + shift, random.normal(size=400) + shift
    rho, p = trend(gain, values, strata, samples=999)
    assert abs(rho) < 0.1 and p > 0.05
    assert trend(gain, values, np.zeros(400), samples=999)[1] < 0.01  # as if there were one stratum
    assert trend(values, values, strata, samples=999) == (pytest.approx(1.0), pytest.approx(0.001))


def test_unknown_values_are_left_out_and_constant_ones_have_no_trend():
    values, gain = np.array([1, 2, np.nan, 4, 3]), np.array([1.0, 2, -50, 4, 3])
    assert trend(gain, values, np.zeros(5), samples=9)[0] == pytest.approx(1.0)
    assert all(map(math.isnan, trend(gain, np.ones(5), np.zeros(5))))


def test_holm_by_hand():
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last is raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.01, 0.5]) == pytest.approx([1.0, 0.03, 1.0])
    assert holm([0.02]) == pytest.approx([0.02]) and len(holm([])) == 0


def test_holm_leaves_out_what_is_no_test():
    adjusted = holm([0.04, math.nan, 0.01])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.02]) and math.isnan(adjusted[1])


def test_holm_keeps_the_order_and_is_between_plain_and_bonferroni():
    random = np.random.default_rng(5)
    for _ in range(50):
        p = random.random(random.integers(1, 12)) ** 3
        adjusted = holm(p)
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
        assert (adjusted >= p).all() and (adjusted <= np.minimum(1, p * len(p)) + 1e-15).all()


def test_holm_controls_the_chance_of_a_false_rejection():
    """Of 2000 families of 5 true hypotheses about 5 % (at most; here exactly 1 - 0.99^5) have a rejection."""
    random = np.random.default_rng(6)
    false = sum((holm(random.random(5)) < 0.05).any() for _ in range(2000))
    low, high = stats.binom.ppf([0.001, 0.999], 2000, 1 - 0.99**5)
    assert low <= false <= high
