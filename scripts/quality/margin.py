"""Whether a second version is not worse than the first one by more than a margin, in micro and in macro F1.

Both have to be shown, so neither needs a correction for the other. A bound errs in 2.5 % of samples, as the lower end
of a two-sided interval of 95 %: of two versions that are judged in turn, one is taken wrongly in 5 % at the most.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from scripts.quality.comparison import NOTHING_SEEN, POWER, Comparison
from scripts.quality.intervals import Z
from scripts.quality.measures import OVERALL

MEASURES = ("micro_f1", "macro_f1")
CONFIDENCE = 0.95  # that no version is taken which is worse by more than the margin


@dataclass(frozen=True)
class Bound:
    """What these images show of one measure."""

    name: str  # one of MEASURES
    difference: float
    low: float  # what the true difference is above
    images: int  # that were compared
    margin: float
    needed: float  # images like these, for 8 of 10 samples to show it of equal versions; inf where it is disproved

    @property
    def holds(self) -> bool:
        return self.low > -self.margin

    def __str__(self) -> str:
        title = OVERALL[self.name][0]
        if not math.isfinite(self.difference):
            return f"{title}: nothing to measure, expected images with labels and without"
        return f"{title} differs by {self.difference:+.4f}, and by more than {self.low:+.4f} with 95 % confidence"

    @property
    def lack(self) -> str:
        """What would show it."""
        title = OVERALL[self.name][0]
        if not math.isfinite(self.needed):
            return f"{title} is worse by more than {self.margin:g}, or can't be measured"
        if self.needed <= self.images:
            return (
                f"{title} came out worse by {-self.difference:.4f} on {self.images} judged photos, which would show it "
                "8 times in 10 of a version that is as good"
            )
        return (
            f"{title} needs about {math.ceil(self.needed)} judged photos like these, to show it 8 times in 10 if it is "
            f"the same, and has {self.images}"
        )


def bounds(comparison: Comparison) -> list[Bound]:
    """One for each of MEASURES."""
    return [_bound(comparison, name) for name in MEASURES]


def _bound(comparison: Comparison, name: str) -> Bound:
    interval, images = comparison.differences[name], len(comparison.paths)
    deviation = np.nan_to_num((interval.high - interval.low) / (2 * Z))  # without bounds where no resample differs
    unseen = _unseen(comparison, name)
    half, margin, needed = max(Z * deviation, unseen), comparison.margin, math.inf
    if margin > 0 and interval.value + half > -margin:
        needed = images * max((float(Z + ndtri(POWER)) * deviation / margin) ** 2, unseen / margin)
    return Bound(name, interval.value, interval.value - half, images, margin, needed)


def _unseen(comparison: Comparison, name: str) -> float:
    """How far versions may differ that decide alike on all of these images: no bound is nearer than that.

    Of macro F1, all that is unseen may be of the label that the fewest images have: it counts as one of the labels.
    """
    if name == "micro_f1":
        return NOTHING_SEEN / len(comparison.paths)
    first, second = comparison.first.estimate, comparison.second.estimate
    present = np.isfinite(first.values["recall"])
    if not present.any():
        return math.inf
    trials = np.minimum(first.trials["f1"], second.trials["f1"])[present]
    return NOTHING_SEEN / (int(present.sum()) * float(trials.min()))
