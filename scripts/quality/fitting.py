"""Scores and truth → a calibration and thresholds, and cross-validated decisions.

Scores are [N, C] from 0 to 1, truth is [N, C]: 1, 0 or UNKNOWN, which is left out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from handler.calibration import Calibration
from scripts.quality.fitted import Images
from scripts.quality.objective import MARGIN, NEVER, Objective, choose
from scripts.quality.refitting import Refit
from scripts.quality.scores import UNKNOWN
from scripts.quality.shrinking import shrunk, weight

Method = Literal["temperature", "platt", "none"]
Array = NDArray[np.float64]
Truth = NDArray[np.int8]
# Scores are stored as float32. It holds none nearer to 1 than 2⁻²⁴, so 1 stands for half of that, and 0 for the least.
LEAST, MOST = 1e-37, 1 - 2.0**-25
LOG_SCALE_BOUND = 6.0  # a scale lies between exp(-6) and exp(6)


@dataclass(frozen=True)
class Procedure:
    """How a calibration and thresholds are fitted."""

    objective: Objective
    method: Method = "temperature"
    min_support: int = 10  # images with and without a label, for a scale and a shift of its own
    folds: int = 5
    seed: int = 0
    otherwise: float = NEVER  # the threshold of labels for which the objective's promise can't be made


@dataclass(frozen=True)
class Fit:
    calibration: Calibration
    thresholds: Array  # [C], for calibrated scores
    part: Array  # [C]: of the label's own threshold, from 0 to 1; the rest is the shared one's
    reached: NDArray[np.bool_]  # [C]: whether the threshold reaches the objective
    shared: float  # the threshold fitted on all labels together
    at_bound: NDArray[np.bool_]  # [C]: whether the scale ended at its bound


@dataclass(frozen=True)
class HeldOut:
    """Decisions about images by fits that have not seen them, and how to make them again."""

    scores: Array  # [N, C], calibrated
    fired: NDArray[np.bool_]  # [N, C]
    refit: Refit


def logits(scores: NDArray[np.floating]) -> Array:
    """Finite for 0 and 1 as well, because scores are clipped."""
    finite: Array = logit(np.clip(scores.astype(np.float64), LEAST, MOST))
    return finite


def calibrated(scores: NDArray[np.floating], calibration: Calibration) -> Array:
    """Scores [N, C] → calibrated scores [N, C]."""
    if not calibration.changes:
        return scores.astype(np.float64)
    again: Array = expit(logits(scores) * calibration.scale + calibration.shift)
    return again


def log_loss(scores: NDArray[np.floating], truth: Truth) -> float:
    """The mean negative log-likelihood of the known truth, in nats."""
    known = truth != UNKNOWN
    return float(_loss(logits(scores)[known], truth[known].astype(np.float64)).mean())


def fit(scores: NDArray[np.floating], truth: Truth, how: Procedure) -> Fit:
    """With few images a label's threshold is drawn towards that of all labels, and its scale is that of all."""
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    support = np.minimum(positives, negatives)
    calibration = _calibration(logits(scores), truth, how.method, support >= how.min_support)
    fitted, known = calibrated(scores, calibration), truth != UNKNOWN
    choices = [choose(fitted[known[:, c], c], truth[known[:, c], c] == 1, how.objective) for c in range(len(support))]
    thresholds, reached = np.array([each.threshold for each in choices]), np.array([each.reached for each in choices])
    shared = NEVER
    part: Array = np.ones(len(support))
    if how.objective.shares:
        shared = choose(fitted[known], truth[known] == 1, how.objective).threshold
        part = weight(support.astype(np.float64))
        thresholds = np.clip(expit(shrunk(logit(shared), logit(thresholds), part)), MARGIN, 1 - MARGIN)
    bound = np.abs(np.log(calibration.scale)) >= LOG_SCALE_BOUND - 0.01
    return Fit(calibration, np.where(reached, thresholds, how.otherwise), part, reached, shared, bound)


def out_of_fold(scores: NDArray[np.floating], truth: Truth, images: Images, how: Procedure) -> HeldOut:
    """Each image is decided by a fit on the other folds. The folds depend on the images, not on their order."""
    return held_out(scores, truth, images, np.ones(len(images), dtype=bool), how)


def held_out(
    scores: NDArray[np.floating], truth: Truth, images: Images, fitted_on: NDArray[np.bool_], how: Procedure
) -> HeldOut:
    """Images that were fitted on are decided out of fold, the others by the fit on all of these. fitted_on: [N]."""
    groups = np.full(len(images), how.folds)
    inside = np.flatnonzero(fitted_on)
    groups[inside] = fold_numbers(images[inside], how.folds, how.seed)
    again, fired = np.empty(scores.shape), np.empty(scores.shape, dtype=bool)
    calibrations: list[Calibration] = []
    for group in range(how.folds + 1):
        seen = (groups != group) & fitted_on
        decided = groups == group
        if group == how.folds and not decided.any():
            calibrations.append(calibrations[-1])
            continue
        fitted = fit(scores[seen], truth[seen], how)
        calibrations.append(fitted.calibration)
        again[decided] = calibrated(scores[decided], fitted.calibration)
        fired[decided] = again[decided] >= fitted.thresholds
    return HeldOut(again, fired, Refit(logits(scores), truth, groups, calibrations, how.objective, how.otherwise))


def fold_numbers(images: Images, folds: int, seed: int) -> NDArray[np.intp]:
    """[N]: the fold of each image, from 0. The same images are in the same folds in any order."""
    shuffled = np.random.default_rng(seed).permutation(len(images))
    numbers = np.empty(len(images), dtype=np.intp)
    numbers[np.argsort(images)[shuffled]] = np.arange(len(images)) * folds // max(len(images), 1)
    return numbers


def _calibration(z: Array, truth: Truth, method: Method, own: NDArray[np.bool_]) -> Calibration:
    none = Calibration.none(truth.shape[1])
    known = truth != UNKNOWN
    if method == "none" or not known.any():
        return none
    scale, shift = none.scale * _temperature(z, truth), none.shift.copy()
    if method == "platt":
        for label in np.flatnonzero(own):
            rows = known[:, label]
            scale[label], shift[label] = _platt(z[rows, label], truth[rows, label].astype(np.float64))
    return Calibration(scale, shift)


def _temperature(z: Array, truth: Truth) -> float:
    """The scale, 1 / temperature, by maximum likelihood with Platt's targets.

    Where every decision is right already, these keep it from growing without end.
    """
    known = truth != UNKNOWN
    targets = _targets(truth[known])  # of all labels together: of a label without positives, they would be far off
    best = minimize_scalar(
        lambda log_scale: _loss(z[known] * np.exp(log_scale), targets).mean(),
        bounds=(-LOG_SCALE_BOUND, LOG_SCALE_BOUND),
        method="bounded",
    )
    return float(np.exp(best.x))


def _targets(truth: NDArray[np.generic]) -> Array:
    """Platt's: as if one more image of each kind had been seen, with the other truth. [N]."""
    positives, negatives = (truth == 1).sum(), (truth == 0).sum()
    return np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _platt(z: Array, truth: Array) -> tuple[float, float]:
    """Scale and shift by maximum likelihood. Platt's targets keep them finite where the scores separate the classes."""
    target = _targets(truth)
    # Divided by the rarer ones: by all images, the gradient of a rare label would be too small to go on.
    rarer = max(min(truth.sum(), len(truth) - truth.sum()), 1)

    def loss(parameters: Array) -> tuple[float, Array]:
        scale, shift = np.exp(parameters[0]), parameters[1]
        error = expit(z * scale + shift) - target
        gradient = np.array([(error * z * scale).sum(), error.sum()])
        return float(_loss(z * scale + shift, target).sum() / rarer), gradient / rarer

    best = minimize(
        loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-LOG_SCALE_BOUND, LOG_SCALE_BOUND), (None, None)]
    )
    return float(np.exp(best.x[0])), float(best.x[1])


def _loss(z: Array, target: Array) -> Array:
    loss: Array = np.logaddexp(0, z) - z * target
    return loss
