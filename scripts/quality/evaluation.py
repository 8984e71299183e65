"""Versions of a classifier on the same images: decisions, measures with intervals, and a paired comparison."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scripts.archive.measured import Calibrated
from scripts.quality.bootstrap import Estimate, Interval, estimate
from scripts.quality.fitting import calibrated, out_of_fold
from scripts.quality.measures import LOWER_IS_BETTER, OVERALL, PER_LABEL, Array, Decisions
from scripts.quality.objective import Objective
from scripts.quality.scores import UNKNOWN, Scores

AS_SCORED, CALIBRATED, OUT_OF_FOLD = "as scored", "calibrated", "calibrated, out of fold"


@dataclass(frozen=True)
class Version:
    """Decisions, the thresholds that they were made with, and their measures."""

    name: str
    decisions: Decisions
    thresholds: Array  # [C]
    estimate: Estimate

    @property
    def measured(self) -> dict[str, list[Interval]]:
        """One interval for each measure of OVERALL, C for each of PER_LABEL."""
        return self.estimate.intervals

    def to_dict(self, labels: list[str]) -> dict[str, Any]:
        """For JSON."""
        return {
            "overall": {name: numbers(self.measured[name][0]) for name in OVERALL},
            "labels": {
                name: {
                    "threshold": float(self.thresholds[place]),
                    **{count: int((self.decisions.truth[:, place] == value).sum()) for count, value in COUNTS.items()},
                    **{measure: numbers(self.measured[measure][place]) for measure in PER_LABEL},
                }
                for place, name in enumerate(labels)
            },
        }


COUNTS = {"positives": 1, "negatives": 0, "unknown": UNKNOWN}


@dataclass(frozen=True)
class Comparison:
    """The second version minus the first, on the images that both have."""

    first: Version
    second: Version
    differences: dict[str, Interval]  # for each of OVERALL
    paths: list[str]

    @property
    def verdict(self) -> str:
        """Whether the second is better, by micro F1; and the other measures in which it is worse."""
        difference = self.differences["micro_f1"]
        worse = [OVERALL[name][0] for name, interval in self.differences.items() if _sign(name, interval) < 0]
        also = f" Worse: {'; '.join(worse)}." if worse else ""
        interval = f"micro F1 differs by {difference.low:+.3f} to {difference.high:+.3f}"
        if difference.low > 0:
            return f"{self.second.name} is better than {self.first.name}: {interval}.{also}"
        if difference.high < 0:
            return f"{self.second.name} is worse than {self.first.name}: {interval}."
        return f"These images can't tell {self.second.name} from {self.first.name}: {interval}.{also}"


def as_scored(scores: Scores, resamples: int, seed: int) -> Version:
    """With the thresholds of the archive that scored."""
    decisions = Decisions(scores.scores.astype(np.float64), scores.scores >= scores.thresholds, scores.truth)
    return Version(AS_SCORED, decisions, scores.thresholds, estimate(decisions, resamples, seed))


def with_calibration(scores: Scores, fitted: Calibrated, resamples: int, seed: int) -> Version:
    """Out of fold where the calibration was fitted on these very scores, since it looks too good on them."""
    provenance = fitted.provenance
    if provenance.get("scores_sha256") == scores.sha256:
        objective = Objective(provenance["objective_kind"], provenance["objective_value"])
        folds = (provenance["method"], provenance["min_support"], provenance["folds"], provenance["seed"])
        decisions = Decisions(*out_of_fold(scores.scores, scores.truth, objective, *folds), scores.truth)
        name = OUT_OF_FOLD
    else:
        # The scores may be calibrated already: that calibration is undone first.
        again = calibrated(scores.scores, fitted.calibration.after(scores.calibration.inverse))
        decisions, name = Decisions(again, again >= fitted.thresholds, scores.truth), CALIBRATED
    return Version(name, decisions, fitted.thresholds, estimate(decisions, resamples, seed))


def compared(first: Version, second: Version, paths: list[str]) -> Comparison:
    """Both versions need the same images in one order, and the same seed."""
    differences = second.estimate.minus(first.estimate).intervals
    return Comparison(first, second, {name: differences[name][0] for name in OVERALL}, paths)


def _sign(name: str, interval: Interval) -> int:
    """1 for better, -1 for worse, 0 where the interval holds 0."""
    sign = (interval.low > 0) - (interval.high < 0)
    return -sign if name in LOWER_IS_BETTER else sign


def numbers(interval: Interval) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(interval).items()}
