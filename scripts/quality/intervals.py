"""95 % confidence intervals of measures. docs/quality.md shows how often they hold the truth, by simulation.

A percentile of the bootstrap does not: with few images its resamples are too much alike, and of a share of 1 they are
all the same. So the bootstrap gives the standard deviation alone, and Wilson's interval (Probable inference, the law of
succession, and statistical inference, 1927) is taken for as many independent trials as this deviation stands for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Z = 1.959964  # standard deviations of 95 %
LEAST_TRIALS = 5  # fewer say nothing of a share


@dataclass(frozen=True)
class Interval:
    """A measure, and its 95 % confidence interval. low and high are NaN where there is too little to give one."""

    value: float
    low: float
    high: float


def wilson(share: Array, trials: Array, deviation: Array) -> tuple[Array, Array]:
    """Low and high. trials: how many decisions the share is of. deviation: of the share, by the bootstrap; 0 or NaN
    where it doesn't tell. NaN with fewer than LEAST_TRIALS."""
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = share * (1 - share) / deviation**2
        count = np.where(np.isfinite(effective) & (effective > 0), np.minimum(effective, trials), trials)
        count = np.where(trials >= LEAST_TRIALS, count, np.nan)
        middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
        half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def wilson_f1(f1: Array, trials: Array, deviation: Array) -> tuple[Array, Array]:
    """F1 = 2J / (1 + J), where J is the share of hits in all hits, alarms and misses: that is what Wilson's is of."""
    jaccard = f1 / (2 - f1)
    low, high = wilson(jaccard, trials, deviation * 2 / (2 - f1) ** 2)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def normal(value: Array, deviation: Array) -> tuple[Array, Array]:
    """For differences, which are as often too high as too low. NaN where no resample differs."""
    half = np.where(deviation > 0, Z * deviation, np.nan)
    return value - half, value + half
