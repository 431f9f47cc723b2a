"""Is a difference more than chance? Intervals, tests, and a correction for many tests.

Differences between two models are those of the same seeds and cases, (seeds, cases): what a case has in common under
both drops out. They have one interval and one test, over both. What has no seeds is numbers of test cases, (cases,),
with a bootstrap and a permutation test of one random stream: the same numbers give the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

CHUNK_ELEMENTS = 1_000_000  # random draws of a permutation test held at once
SAMPLES = 2000  # of a bootstrap
ENDS = 0.025, 0.975  # of a 95 % interval

# --- bootstrap intervals ----------------------------------------------------------------------------------------------


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13); NaN without cases.

    Args:
        values: (cases,) what is resampled, for paired comparisons the difference of each case.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return math.nan, math.nan
    return _ends(_resamples(len(values)) @ values / len(values))


def ratio_interval(top: np.ndarray, bottom: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of sum(top) / sum(bottom), (cases,) each, resampled together; NaN where all are 0 / 0."""
    if not np.any(bottom):
        return math.nan, math.nan
    sums = _resamples(len(top)) @ np.column_stack([top, bottom])  # (SAMPLES, 2)
    sums = sums[sums[:, 1] > 0]  # a resample may hold nothing but 0 / 0
    return _ends(sums[:, 0] / sums[:, 1])


def difference_interval(upper: np.ndarray, lower: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of mean(upper) - mean(lower) of two groups of different cases, resampled one by one."""
    means = [_resamples(len(values), seed) @ values / len(values) for seed, values in enumerate((upper, lower))]
    return _ends(means[0] - means[1])


def half_width(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of the mean of differences, (seeds, cases), by ``_error``'s Student's t.

    From three seeds on it holds the truth about as often as it says; with two, in simulations, 87 to 96 times in 100,
    as two seeds that happen to agree don't show how much seeds matter. With one it is the interval over cases alone.
    """
    from scipy.special import stdtrit

    error, freedom = _error(values)
    return float(stdtrit(freedom, ENDS[1])) * error if error else 0.0


def mean_p(values: np.ndarray) -> float:
    """Two-sided p-value of a mean of 0 of differences, (seeds, cases): below 0.05 where ``half_width`` is exceeded.

    Returns:
        1 if all are 0; NaN without cases, or if some are not finite.
    """
    from scipy.special import stdtr

    if not values.size or not np.isfinite(values).all():
        return math.nan
    mean, (error, freedom) = abs(float(values.mean())), _error(values)
    if not error:
        return float(mean == 0)
    return 2 * float(stdtr(freedom, -mean / error))


def _error(values: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of a table whose rows and columns are both drawn at random; its degrees of freedom.

    Of (seeds, cases) gains, say: the mean would be another one with other seeds, and with other test cases. The spread
    of the means of seeds and that of the means of cases both hold what a seed does to single cases. In an analysis of
    variance of a crossed design (Searle, Casella & McCulloch, Variance Components, 1992, chapter 4) it is therefore
    taken off once. The degrees of freedom follow Satterthwaite (Biometrics Bulletin 1946) and are at least those of the
    seeds.
    """
    seeds, cases = values.shape
    of_seed, of_case, mean = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True), values.mean()
    # mean squares with their degrees of freedom
    between_seeds = _mean_square(cases * (of_seed - mean) ** 2, seeds - 1)
    between_cases = _mean_square(seeds * (of_case - mean) ** 2, cases - 1)
    rest = _mean_square((values - of_seed - of_case + mean) ** 2, (seeds - 1) * (cases - 1))
    terms = [between_cases]
    if between_seeds[0] > rest[0]:  # otherwise seeds differ no more than what they do to single cases explains
        terms += [between_seeds, (-rest[0], rest[1])]
    total = sum(square for square, _ in terms)
    if not total:
        return 0.0, math.inf
    freedom = total**2 / sum(square**2 / free for square, free in terms if free)
    return math.sqrt(total / values.size), max(freedom, seeds - 1)


def _mean_square(squares: np.ndarray, freedom: int) -> tuple[float, int]:
    """Their sum by its degrees of freedom, and these; 0 where there are none."""
    return (float(squares.sum()) / freedom if freedom else 0.0), freedom


@lru_cache(maxsize=8)
def _resamples(cases: int, seed: int = 0) -> np.ndarray:
    """How often each case is in each of SAMPLES resamples with replacement, (SAMPLES, cases); sums are products of it.

    Kept, as the same test cases are resampled for every number of a page.
    """
    random, parts = np.random.default_rng(seed), []
    for count in _chunks(SAMPLES, 100):
        place = random.integers(cases, size=(count, cases)) + cases * np.arange(count)[:, None]
        parts.append(np.bincount(place.ravel(), minlength=count * cases).astype(np.uint8).reshape(count, cases))
    return np.concatenate(parts)


def _ends(draws: np.ndarray) -> tuple[float, float]:
    """The ends of the interval that holds 95 % of the bootstrap's draws."""
    low, high = np.quantile(draws, ENDS)
    return float(low), float(high)


# --- permutation tests ------------------------------------------------------------------------------------------------


def permutation_p(differences: np.ndarray, samples: int = 9999) -> float:
    """Two-sided p-value of a paired permutation test of the mean difference 0.

    If two models are exchangeable, each case's difference is as likely with the other sign. The p-value is the share
    of random sign flips whose mean is at least as far from 0 as the observed one (Edgington, Randomization Tests,
    1980; Ernst, Permutation methods, Statistical Science 19, 2004). The observed signs count as one of the flips,
    without which the test would reject too often (Phipson & Smyth, Permutation p-values should never be zero, 2010).

    Args:
        differences: (cases,) per-case differences.
        samples: random flips; the smallest possible p-value is 1 / (1 + samples).

    Returns:
        1 if all differences are 0; NaN if there are none, or some are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return math.nan
    values, random = values[values != 0], np.random.default_rng(0)  # a 0 is the same with either sign
    if not len(values):
        return 1.0
    total = values.sum()  # comparing sums is comparing means
    # equal sums differ by rounding, in proportion to what is added and not to their own, perhaps tiny, size
    least = abs(total) - 1e-12 * np.abs(values).sum()

    def flipped(count: int) -> np.ndarray:  # (count,) sums
        return total - 2 * (random.integers(2, size=(count, len(values)), dtype=np.int8) @ values)

    return _share_as_extreme(flipped, least, samples, len(values))


def trend(gain: np.ndarray, values: np.ndarray, strata: np.ndarray, samples: int = 9999) -> tuple[float, float]:
    """Rank correlation of a gain with a property within strata, and the two-sided p-value of a permutation test.

    Ranks are taken within each stratum (the target's domain), so that a difference between strata is no trend. If gain
    and property have nothing to do with each other, any order of the gains within a stratum is as likely as that
    observed: the p-value is the share of random orders whose correlation is at least as far from 0, the observed one
    counted as one.

    Args:
        gain, values, strata: (cases,). Cases whose value is NaN are left out.
        samples: random orders.

    Returns:
        NaN and NaN where the gain or the property does not vary.
    """
    known = ~np.isnan(np.asarray(values, dtype=np.float64))
    gain, values, strata = (np.asarray(given)[known] for given in (gain, values, strata))
    x, y = centred_ranks(values, strata), centred_ranks(gain, strata)
    scale = math.sqrt((x @ x) * (y @ y))
    if scale == 0:
        return math.nan, math.nan
    observed, random = float(x @ y), np.random.default_rng(0)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]

    def reordered(count: int) -> np.ndarray:  # (count,) sums
        return sum(random.permuted(np.tile(y[rows], (count, 1)), axis=1) @ x[rows] for rows in members)

    return observed / scale, _share_as_extreme(reordered, abs(observed) - 1e-9 * scale, samples, len(x))


def centred_ranks(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks within each stratum from -1/2 to 1/2, ties averaged, (cases,)."""
    grouped = pd.Series(values).groupby(strata)
    size = grouped.transform("size").to_numpy()
    return (grouped.rank().to_numpy() - (size + 1) / 2) / size


def _share_as_extreme(draw: Callable[[int], np.ndarray], least: float, samples: int, cases: int) -> float:
    """Share of random sums at least ``least`` away from 0, the observed one counted as one of them.

    Args:
        draw: gives a number of random sums; each takes ``cases`` random numbers.
    """
    chunks = _chunks(samples, max(1, CHUNK_ELEMENTS // cases))
    extreme = sum(int((np.abs(draw(count)) >= least).sum()) for count in chunks)
    return (1 + extreme) / (1 + samples)


def _chunks(total: int, size: int) -> Iterator[int]:
    """``total`` in parts of ``size`` and a rest: all random draws at once would take too much memory."""
    return (min(size, total - start) for start in range(0, total, size))


# --- many tests -------------------------------------------------------------------------------------------------------


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: reject those below 0.05, and the chance of even one false rejection is at most 5 %.

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979. The
    smallest of m p-values is multiplied by m, the next by m - 1, and so on; none may end below one before it.

    Args:
        p_values: the family of tests; a NaN is no test, stays NaN and does not count.

    Returns:
        In the same order, at most 1.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted, tests = np.full_like(p_values, np.nan), np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests], kind="stable")]
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted
