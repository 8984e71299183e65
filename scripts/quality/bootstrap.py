"""Confidence intervals of measures, by the bootstrap over images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from scripts.quality.measures import Array, Decisions, Measures

MAX_WEIGHTS = 16_000_000  # held in memory at once, 8 bytes each


@dataclass(frozen=True)
class Interval:
    """The value on all images, and the middle 95 % of its values on resamples. NaN where nothing can be measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """Measures by name: on all images, [1], or [C] where they are per label; on each resample, [R, 1] or [R, C]."""

    values: dict[str, Array]
    resamples: dict[str, Array]

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """One interval for each measure, or C of them where it is per label."""
        return {name: _intervals(value, self.resamples[name]) for name, value in self.values.items()}

    def minus(self, other: Self) -> Self:
        """The paired difference, resample by resample. Both need the same images in one order, and the same seed."""
        return type(self)(
            {name: value - other.values[name] for name, value in self.values.items()},
            {name: value - other.resamples[name] for name, value in self.resamples.items()},
        )


def estimate(decisions: Decisions, resamples: int, seed: int) -> Estimate:
    """Each resample draws as many images as there are, with replacement."""
    measures = Measures(decisions)
    parts = [measures(weights) for weights in resample_weights(len(decisions.truth), resamples, seed)]
    return Estimate(
        {name: value[0].reshape(-1) for name, value in measures().items()},
        {name: np.concatenate([part[name] for part in parts]).reshape(resamples, -1) for name in parts[0]},
    )


def resample_weights(images: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each image is in each resample: arrays [N, up to R], with R columns in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, MAX_WEIGHTS // images)
    for start in range(0, resamples, at_once):
        weights = np.empty((images, min(at_once, resamples - start)))
        for column in weights.T:
            column[:] = np.bincount(rng.integers(images, size=images), minlength=images)
        yield weights


def _intervals(values: Array, resamples: Array) -> list[Interval]:
    intervals = []
    for value, resampled in zip(values, resamples.T, strict=True):
        finite = resampled[np.isfinite(resampled)]
        low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
        intervals.append(Interval(float(value), float(low), float(high)))
    return intervals
