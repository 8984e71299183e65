"""How sure a measure is: its values on resamples of the images, and the interval that holds most of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from scripts.quality.measures import Array, Decided, Measures

CELLS = 16_000_000  # of weights at once, 8 bytes each


@dataclass(frozen=True)
class Interval:
    """The value on all images, and where 95 % of the resamples lie. NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """Each measure on all images, [1] or of each label [C], and on each resample, [R, 1] or [R, C]."""

    values: dict[str, Array]
    resamples: dict[str, Array]

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """One of each measure, or one of each label."""
        return {name: _intervals(value, self.resamples[name]) for name, value in self.values.items()}

    def less(self, other: Self) -> Self:
        """The difference, resample by resample: paired, as one seed takes the same of as many images."""
        return type(self)(
            {name: value - other.values[name] for name, value in self.values.items()},
            {name: value - other.resamples[name] for name, value in self.resamples.items()},
        )


def estimate(decided: Decided, resamples: int, seed: int) -> Estimate:
    """By the bootstrap: each resample takes as many images as there are, with replacement."""
    measures = Measures(decided)
    parts = [measures(weights) for weights in resampled(len(decided.truth), resamples, seed)]
    return Estimate(
        {name: value[0].reshape(-1) for name, value in measures().items()},
        {name: np.concatenate([part[name] for part in parts]).reshape(resamples, -1) for name in parts[0]},
    )


def resampled(images: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each image is in each resample: [N, up to R] at once, R of them in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // images)
    for start in range(0, resamples, at_once):
        weights = np.empty((images, min(at_once, resamples - start)))
        for column in weights.T:
            column[:] = np.bincount(rng.integers(images, size=images), minlength=images)
        yield weights


def _intervals(values: Array, resamples: Array) -> list[Interval]:
    found = []
    for value, drawn in zip(values, resamples.T, strict=True):
        numbers = drawn[np.isfinite(drawn)]
        low, high = np.percentile(numbers, [2.5, 97.5]) if len(numbers) else (np.nan, np.nan)
        found.append(Interval(float(value), float(low), float(high)))
    return found
