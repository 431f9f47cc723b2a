"""Is a difference more than chance? An interval for a mean, a paired permutation test, and a correction for many tests.

All work on differences of the same cases under two models, (cases,): what a case has in common under both drops out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK_ELEMENTS = 1_000_000  # random draws held at once


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Args:
        values: (cases,) what is resampled, for paired comparisons the difference of each case.
        seed: names the random stream: the same values give the same interval.
    """
    values, random = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    means = np.concatenate(
        [values[random.integers(len(values), size=(100, len(values)))].mean(axis=1) for _ in range(samples // 100)]
    )  # in parts: all indices at once would be 100 MB and more
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def permutation_p(differences: np.ndarray, samples: int = 9999, seed: int = 0) -> float:
    """Two-sided p-value of a paired permutation test of the mean difference 0.

    If two models are exchangeable, each case's difference is as likely with the other sign. The p-value is the share
    of random sign flips whose mean is at least as far from 0 as the observed one (Edgington, Randomization Tests,
    1980; Ernst, Permutation methods, Statistical Science 19, 2004). The observed signs count as one of the flips,
    without which the test would reject too often (Phipson & Smyth, Permutation p-values should never be zero, 2010).

    Args:
        differences: (cases,) per-case differences.
        samples: random flips; the smallest possible p-value is 1 / (1 + samples).
        seed: names the random stream: the same differences give the same p-value.

    Returns:
        1 if all differences are 0; NaN if there are none, or some are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return float("nan")
    values, random = values[values != 0], np.random.default_rng(seed)  # a 0 is the same with either sign
    if not len(values):
        return 1.0
    total = values.sum()  # comparing sums is comparing means
    # equal sums differ by rounding, in proportion to what is added and not to their own, perhaps tiny, size
    least = abs(total) - 1e-12 * np.abs(values).sum()
    extreme, chunk = 0, max(1, CHUNK_ELEMENTS // len(values))
    for start in range(0, samples, chunk):
        flips = random.integers(2, size=(min(chunk, samples - start), len(values)), dtype=np.int8)
        extreme += int((np.abs(total - 2 * (flips @ values)) >= least).sum())
    return (1 + extreme) / (1 + samples)


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
