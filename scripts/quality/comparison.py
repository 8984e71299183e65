"""Two versions on the same images: what differs, and whether the second may replace the first."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, ndtri

from scripts.quality.bootstrap import Differences
from scripts.quality.evaluation import Version, numbers
from scripts.quality.intervals import Interval, Z
from scripts.quality.measures import LOWER_IS_BETTER, OVERALL, Array

Verdict = Literal["better", "worse", "not worse", "can't tell", "none"]
DECIDING = "micro_f1"
LEVEL = 0.05
POWER = 0.8
# Differing images that 95 % of samples would have shown, as a share, were it so large (Hanley and Lippman-Hand, If
# nothing goes wrong, is everything all right?, 1983). Two-sided, as all intervals here.
NOTHING_SEEN = 3.69


@dataclass(frozen=True)
class Comparison:
    """The second version minus the first, on the images that both have."""

    first: Version
    second: Version
    labels: list[str]
    margin: float
    paths: list[str]

    @cached_property
    def _estimated(self) -> Differences:
        return self.second.estimate.minus(self.first.estimate)

    @cached_property
    def differences(self) -> dict[str, Interval]:
        """For each of OVERALL. Without bounds where no resample differs."""
        return {name: self._estimated.intervals(name)[0] for name in OVERALL}

    @cached_property
    def deciding(self) -> Interval:
        """Of micro F1. If the versions decide alike everywhere, it says how much they may differ on other images."""
        difference = self.differences[DECIDING]
        if np.isfinite(difference.low):
            return difference
        half = NOTHING_SEEN / len(self.paths)
        return Interval(difference.value, difference.value - half, difference.value + half)

    @property
    def detectable(self) -> float:
        """The true difference of micro F1 that these images show in 8 of 10 samples."""
        deviation = (self.deciding.high - self.deciding.low) / (2 * Z)
        return float((Z + ndtri(POWER)) * deviation)

    @property
    def verdict(self) -> Verdict:
        if not (self.first.fit_known and self.second.fit_known):
            return "none"
        if self.deciding.low > 0:
            return "better"
        if self.deciding.high < 0:
            return "worse"
        return "not worse" if self.deciding.low > -self.margin else "can't tell"

    @cached_property
    def worse_measures(self) -> list[str]:
        """Measures but the deciding one that are worse, corrected for their number."""
        names = [name for name in OVERALL if name != DECIDING]
        signs = np.array([-1 if name in LOWER_IS_BETTER else 1 for name in names])
        values, deviations = (
            np.array([part[name][0] for name in names]) for part in (self._estimated.values, self._estimated.deviations)
        )
        worse = _worse(signs * values, deviations)
        return [name for name, is_worse in zip(names, worse, strict=True) if is_worse]

    @cached_property
    def worse_labels(self) -> list[str]:
        """Labels whose F1 is worse, corrected for their number, of those with enough images."""
        supported = np.flatnonzero(self.first.estimate.supported["macro_f1"])
        worse = _worse(self._estimated.values["f1"][supported], self._estimated.deviations["f1"][supported])
        return [self.labels[label] for label in supported[worse]]

    @property
    def power(self) -> str:
        images = len(self.paths)
        return (
            f"With these {images} images a true difference of {self.detectable:.3f} in micro F1 would be seen 8 times "
            "in 10."
        )

    @property
    def text(self) -> str:
        """The verdict in words, by micro F1, and what else is worse."""
        first, second = self.first.name, self.second.name
        interval = f"micro F1 differs by {self.deciding.low:+.3f} to {self.deciding.high:+.3f}"
        words = {
            "better": f"{second} is better than {first}: {interval}.",
            "worse": f"{second} is worse than {first}: {interval}.",
            "not worse": f"{second} is not worse than {first} by more than {self.margin:g}: {interval}.",
            "can't tell": f"These images can't tell whether {second} is worse than {first} by more than "
            f"{self.margin:g}: {interval}.",
            "none": f"No verdict on {second} and {first}: it is not known whether these images were fitted on. Score "
            "again, over HTTP with --management, archives of this version of calibrate.py.",
        }
        text = words[self.verdict]
        if self.verdict != "none":
            if self.worse_measures:
                text += f" Worse: {'; '.join(OVERALL[name][0] for name in self.worse_measures)}."
            if self.worse_labels:
                text += f" Labels that are worse: {', '.join(self.worse_labels)}."
        return text

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.first.name,
            "second": self.second.name,
            "images": len(self.paths),
            "verdict": self.verdict,
            "text": self.text,
            "margin": self.margin,
            "detectable": round(self.detectable, 6),
            "deciding": numbers(self.deciding),
            "differences": {name: numbers(interval) for name, interval in self.differences.items()},
            "worse_measures": self.worse_measures,
            "worse_labels": self.worse_labels,
        }


def _worse(differences: Array, deviations: Array) -> NDArray[np.bool_]:
    """Which of several differences are below 0, at LEVEL for all together.

    Holm, A simple sequentially rejective multiple test procedure, 1979; it holds however they depend on each other.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(deviations > 0, erfc(np.abs(differences) / deviations / np.sqrt(2)), 1.0)
    order = np.argsort(p, kind="stable")
    passes = p[order] <= LEVEL / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[: len(p) if passes.all() else int(np.argmin(passes))]] = True
    return rejected & (differences < 0)
