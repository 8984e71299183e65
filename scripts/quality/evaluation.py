"""One or two versions of a classifier over the same images: decisions, measures with intervals, and what changed."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scripts.archive.measured import Calibrated
from scripts.quality.bootstrap import Estimate, Interval, estimate
from scripts.quality.fitting import calibrated, out_of_fold
from scripts.quality.measures import A_LABEL, LOWER_IS_BETTER, OVERALL, Array, Decided
from scripts.quality.objective import Objective
from scripts.quality.scores import UNKNOWN, Scores

AS_SCORED, CALIBRATED, OUT_OF_FOLD = "as scored", "calibrated", "calibrated, out of fold"


@dataclass(frozen=True)
class Version:
    """What was decided, by which thresholds, and what it is worth."""

    name: str
    decided: Decided
    thresholds: Array  # [C]
    estimate: Estimate

    @property
    def measured(self) -> dict[str, list[Interval]]:
        return self.estimate.intervals

    def to_dict(self, labels: list[str]) -> dict[str, Any]:
        """For JSON."""
        return {
            "overall": {name: numbers(self.measured[name][0]) for name in OVERALL},
            "labels": {
                name: {
                    "threshold": float(self.thresholds[place]),
                    **{count: int((self.decided.truth[:, place] == value).sum()) for count, value in COUNTS.items()},
                    **{measure: numbers(self.measured[measure][place]) for measure in A_LABEL},
                }
                for place, name in enumerate(labels)
            },
        }


COUNTS = {"positives": 1, "negatives": 0, "unknown": UNKNOWN}


@dataclass(frozen=True)
class Comparison:
    """The second less the first, on the images that both have."""

    first: Version
    second: Version
    differences: dict[str, Interval]  # of each of OVERALL
    paths: list[str]

    @property
    def verdict(self) -> str:
        """By what both are for: F1 of all labels."""
        difference = self.differences["micro_f1"]
        worse = [OVERALL[name][0] for name, each in self.differences.items() if _sign(name, each) < 0]
        also = f" Worse: {'; '.join(worse)}." if worse else ""
        interval = f"micro F1 differs by {difference.low:+.3f} to {difference.high:+.3f}"
        if difference.low > 0:
            return f"{self.second.name} is better than {self.first.name}: {interval}.{also}"
        if difference.high < 0:
            return f"{self.second.name} is worse than {self.first.name}: {interval}."
        return f"These images can't tell {self.second.name} from {self.first.name}: {interval}.{also}"


def as_scored(scores: Scores, resamples: int, seed: int) -> Version:
    """With the thresholds that the archive had."""
    decided = Decided(scores.scores.astype(np.float64), scores.scores >= scores.thresholds, scores.truth)
    return Version(AS_SCORED, decided, scores.thresholds, estimate(decided, resamples, seed))


def with_calibration(scores: Scores, found: Calibrated, resamples: int, seed: int) -> Version:
    """Out of fold where the calibration was fitted on these very scores: else it would praise itself."""
    provenance = found.provenance
    if provenance.get("scores_sha256") == scores.sha256:
        objective = Objective(provenance["objective_kind"], provenance["objective_value"])
        folds = (provenance["method"], provenance["min_support"], provenance["folds"], provenance["seed"])
        decided = Decided(*out_of_fold(scores.scores, scores.truth, objective, *folds), scores.truth)
        name = OUT_OF_FOLD
    else:
        # What is in the scores already is taken out.
        again = calibrated(scores.scores, found.calibration.after(scores.calibration.inverse))
        decided, name = Decided(again, again >= found.thresholds, scores.truth), CALIBRATED
    return Version(name, decided, found.thresholds, estimate(decided, resamples, seed))


def compared(first: Version, second: Version, paths: list[str]) -> Comparison:
    """Both over the same images, in one order, by one seed."""
    differences = second.estimate.less(first.estimate).intervals
    return Comparison(first, second, {name: differences[name][0] for name in OVERALL}, paths)


def _sign(name: str, interval: Interval) -> int:
    """1 better, -1 worse, 0 not to be told."""
    sign = (interval.low > 0) - (interval.high < 0)
    return -sign if name in LOWER_IS_BETTER else sign


def numbers(interval: Interval) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(interval).items()}
