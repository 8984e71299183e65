"""Measures with confidence intervals, by the bootstrap over images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scripts.quality.intervals import LEAST_TRIALS, Interval, normal, wilson, wilson_f1
from scripts.quality.measures import MACRO, PER_LABEL, SUPPORT, Array, Decisions, Measures

MAX_WEIGHTS = 16_000_000  # held in memory at once, 8 bytes each
MAX_REFITTED = 2_000_000_000  # decisions that are made again, in all resamples: half a minute
LEAST_RESAMPLES = 50


@dataclass(frozen=True)
class Estimate:
    """Measures by name: on all images, [1], or [C] where they are per label; on each resample, [R, 1] or [R, C]."""

    values: dict[str, Array]
    resamples: dict[str, Array]
    trials: dict[str, Array]  # how many decisions a share is of
    supported: dict[str, NDArray[np.bool_]]  # [C]: labels with enough images, for each of the means over the labels
    refitted: bool  # whether thresholds are fitted again in each resample
    perfect: tuple[float, float]  # calibration error of scores without fault: the mean, and what 95 % stay below

    @cached_property
    def intervals(self) -> dict[str, list[Interval]]:
        """One interval for each measure, or C of them where it is per label."""
        return {name: _joined(value, *self._bounds(name)) for name, value in self.values.items()}

    def _bounds(self, name: str) -> tuple[Array, Array]:
        value, resamples = self.values[name], self.resamples[name]
        if name == "calibration_error":  # mostly chance: no method gives an interval that holds; see `perfect`
            return np.full(1, np.nan), np.full(1, np.nan)
        deviation, trials = deviations(resamples), self.trials[name]
        if name in MACRO and not self.all_supported(name):
            trials = np.zeros(1)
        if name in PER_LABEL:
            trials = np.where(trials >= (SUPPORT if self.refitted else LEAST_TRIALS), trials, 0)
        if name.startswith("map") and np.isfinite(value).all():
            # Average precision is too high with few images, and in a resample as much higher again.
            value = np.clip(2 * value - np.nanmean(resamples, axis=0), 0, 1)
        of_f1 = name.startswith(("f1", "micro_f1"))
        return (wilson_f1 if of_f1 else wilson)(value, trials, deviation)

    def all_supported(self, name: str) -> bool:
        """Whether every label that is in this mean over the labels has enough images."""
        return bool(self.supported[name][np.isfinite(self.values["recall"])].all())

    def minus(self, other: Self) -> "Differences":
        """The paired difference, resample by resample. Both need the same images in one order, and the same seed."""
        count = min(len(self.resamples["map"]), len(other.resamples["map"]))
        return Differences(
            {name: value - other.values[name] for name, value in self.values.items()},
            {name: deviations(value[:count] - other.resamples[name][:count]) for name, value in self.resamples.items()},
        )


@dataclass(frozen=True)
class Differences:
    """Of two versions on the same images, by measure: [1], or [C] where it is per label."""

    values: dict[str, Array]
    deviations: dict[str, Array]

    def intervals(self, name: str) -> list[Interval]:
        value = self.values[name]
        return _joined(value, *normal(value, self.deviations[name]))


def estimate(decisions: Decisions, resamples: int, seed: int) -> Estimate:
    """Each resample draws as many images as there are, with replacement.

    Thresholds that were fitted on these images are fitted again in each, so there are fewer where that takes long.
    """
    measures = Measures(decisions)
    if decisions.refit is not None:
        resamples = min(resamples, max(LEAST_RESAMPLES, MAX_REFITTED // decisions.truth.size))
    parts = [measures(weights) for weights in resample_weights(len(decisions.truth), resamples, seed)]
    return Estimate(
        {name: value[0].reshape(-1) for name, value in measures().items()},
        {name: np.concatenate([part[name] for part in parts]).reshape(resamples, -1) for name in parts[0]},
        measures.trials(),
        measures.supported,
        decisions.refit is not None,
        measures.perfect_calibration(),
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


def deviations(resamples: Array) -> Array:
    """The standard deviation over the resamples, without those that have nothing to measure: [R, ...] → [...]."""
    finite = np.isfinite(resamples)
    count = finite.sum(axis=0)
    mean = np.where(finite, resamples, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(finite, (resamples - mean) ** 2, 0).sum(axis=0)
    deviation: Array = np.sqrt(squares / np.maximum(count - 1, 1))
    return deviation


def _joined(values: Array, low: Array, high: Array) -> list[Interval]:
    return [Interval(*map(float, bounds)) for bounds in zip(values, low, high, strict=True)]
