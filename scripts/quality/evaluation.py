"""Versions of a classifier on labelled images: decisions that no fit has seen, and their measures with intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.calibration import Calibration, parse_calibration
from handler.errors import LoadError
from scripts.archive.measured import Calibrated
from scripts.quality.bootstrap import Estimate, estimate
from scripts.quality.fitted import fit_settings, parse_fitted_on
from scripts.quality.fitting import Procedure, calibrated, held_out
from scripts.quality.intervals import Interval
from scripts.quality.measures import MACRO, OVERALL, PER_LABEL, Array, Decisions
from scripts.quality.objective import NEVER, Objective
from scripts.quality.scores import UNKNOWN, Scores

AS_SCORED, CALIBRATED, OUT_OF_FOLD = "as scored", "calibrated", ", out of fold"
COUNTS = {"positives": 1, "negatives": 0, "unknown": UNKNOWN}


@dataclass(frozen=True)
class Version:
    """Decisions, the thresholds that they were made with, and their measures."""

    name: str
    decisions: Decisions
    thresholds: Array  # [C]
    resamples: int
    seed: int
    fit_known: bool  # whether the scores say which images their archive was fitted on

    @cached_property
    def estimate(self) -> Estimate:
        return estimate(self.decisions, self.resamples, self.seed)

    @property
    def measured(self) -> dict[str, list[Interval]]:
        """One interval for each measure of OVERALL, C for each of PER_LABEL."""
        return self.estimate.intervals

    def only(self, places: NDArray[np.intp]) -> "Version":
        """On some of the images."""
        return replace(self, decisions=self.decisions.only(places))

    def to_dict(self, labels: list[str]) -> dict[str, Any]:
        """For JSON."""
        supported = {
            name: {
                "labels": int(self.estimate.supported[name].sum()),
                **numbers(self.measured[f"{name}_supported"][0]),
            }
            for name in MACRO
        }
        return {
            "overall": {name: numbers(self.measured[name][0]) for name in OVERALL},
            "supported": supported,
            "perfect_calibration_error": dict(
                zip(("mean", "limit"), (round(value, 6) for value in self.estimate.perfect), strict=True)
            ),
            "labels": {
                name: {
                    "threshold": float(self.thresholds[place]),
                    **{count: int((self.decisions.truth[:, place] == value).sum()) for count, value in COUNTS.items()},
                    **{measure: numbers(self.measured[measure][place]) for measure in PER_LABEL},
                }
                for place, name in enumerate(labels)
            },
        }


def as_scored(scores: Scores, resamples: int, seed: int) -> Version:
    """With the thresholds of the archive that scored; out of fold, where it was fitted on some of these images."""
    known = fit_known(scores)
    fired = scores.scores >= scores.thresholds
    decisions = Decisions(scores.scores.astype(np.float64), fired, scores.truth, scores.scores.astype(np.float64))
    refitted = _held_out(scores, scores.origin.fit)
    name = AS_SCORED if refitted is None else AS_SCORED + OUT_OF_FOLD
    return Version(name, refitted or decisions, scores.thresholds, resamples, seed, known)


def with_calibration(scores: Scores, fitted: Calibrated, resamples: int, seed: int) -> Version:
    """Out of fold where the calibration was fitted on some of these images, since it looks too good on them."""
    settings = fit_settings(fitted.provenance)
    if (refitted := _held_out(scores, settings)) is not None:
        return Version(CALIBRATED + OUT_OF_FOLD, refitted, fitted.thresholds, resamples, seed, fit_known=True)
    # The scores may be calibrated already: that calibration is undone first.
    again = calibrated(scores.scores, fitted.calibration.after(scores.calibration.inverse))
    decisions = Decisions(again, again >= fitted.thresholds, scores.truth, scores.scores.astype(np.float64))
    return Version(CALIBRATED, decisions, fitted.thresholds, resamples, seed, fit_known=settings is not None)


def fit_known(scores: Scores) -> bool:
    """Whether they say which images their archive was fitted on; an archive without calibration on none."""
    origin = scores.origin
    return origin.fit is not None or (origin.calibration is not None and not scores.calibration.changes)


def judgeable(scores: Scores, *fits: Mapping[str, Any] | None) -> NDArray[np.intp]:
    """The places of images that some fit has not seen, or that can be decided by a fit without them.

    That takes all images of the fit. Raises LoadError if no image is left.
    """
    kept = np.ones(len(scores.paths), dtype=bool)
    for settings in fits:
        fitted_on = None if settings is None else parse_fitted_on(settings)
        if fitted_on is not None and not fitted_on.within(scores.images):
            kept &= ~fitted_on.includes(scores.images)
    if not kept.any():
        raise LoadError(
            "scores",
            "every image was fitted on, with others that are not here: expected all that were fitted on, or new images",
        )
    return np.flatnonzero(kept)


def _held_out(scores: Scores, settings: Mapping[str, Any] | None) -> Decisions | None:
    """None where no image was fitted on."""
    fitted_on = None if settings is None else parse_fitted_on(settings)
    if settings is None or fitted_on is None or not (included := fitted_on.includes(scores.images)).any():
        return None
    # The fit began with the scores that `applied` gives of the bare network.
    applied = settings["applied"]
    began = Calibration.none(len(scores.labels))
    if applied is not None:
        began = parse_calibration(applied, scores.labels, "applied")
    start = calibrated(scores.scores, began.after(scores.calibration.inverse))
    found = held_out(start, scores.truth, scores.images, included, _procedure(settings))
    return Decisions(found.scores, found.fired, scores.truth, scores.scores.astype(np.float64), found.refit)


def _procedure(settings: Mapping[str, Any]) -> Procedure:
    objective = Objective(settings["objective_kind"], settings["objective_value"], settings["confidence"])
    otherwise = settings["otherwise"]
    return Procedure(
        objective,
        settings["method"],
        settings["min_support"],
        settings["folds"],
        settings["seed"],
        NEVER if otherwise is None else otherwise,
    )


def numbers(interval: Interval) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(interval).items()}
