"""Scores and truth → a calibration and thresholds, and what they do on images that they were not fitted on.

Scores are [N, C] in 0 to 1, truth is [N, C]: 1, 0 or UNKNOWN, which counts for nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from handler.calibration import Calibration
from scripts.quality.objective import Objective, choose
from scripts.quality.scores import UNKNOWN

Method = Literal["temperature", "platt", "none"]
Array = NDArray[np.float64]
Truth = NDArray[np.int8]
# float32 holds no score nearer to 0 or 1: a logit beyond it is lost.
NEAREST = 2.0**-24
BOUND = 6.0  # of the logarithm of a scale


@dataclass(frozen=True)
class Fit:
    calibration: Calibration
    thresholds: Array  # [C], of calibrated scores
    own: NDArray[np.bool_]  # [C]: whether the label has a threshold of its own, or that of all labels together
    reached: NDArray[np.bool_]  # [C]: whether the objective could be had
    together: float  # the threshold of all labels together


def logits(scores: NDArray[np.floating]) -> Array:
    """Finite, also of 0 and 1."""
    found: Array = logit(np.clip(scores.astype(np.float64), NEAREST, 1 - NEAREST))
    return found


def calibrated(scores: NDArray[np.floating], calibration: Calibration) -> Array:
    """Scores, again."""
    if not calibration.changes:
        return scores.astype(np.float64)
    found: Array = expit(logits(scores) * calibration.scale + calibration.shift)
    return found


def log_loss(scores: NDArray[np.floating], truth: Truth) -> float:
    """The mean negative log-likelihood of what is known, in nats."""
    known = truth != UNKNOWN
    return float(_loss(logits(scores)[known], truth[known].astype(np.float64)).mean())


def fit(scores: NDArray[np.floating], truth: Truth, objective: Objective, method: Method, min_support: int) -> Fit:
    """A label with fewer than `min_support` positives or negatives gets the scale, and the threshold, of all labels
    together."""
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    own = (positives >= min_support) & (negatives >= min_support)
    calibration = _calibration(logits(scores), truth, method, own)
    found = calibrated(scores, calibration)
    known = truth != UNKNOWN
    together = choose(found[known], truth[known] == 1, objective).threshold
    thresholds = np.full(truth.shape[1], together)
    reached = np.ones(truth.shape[1], dtype=bool)
    for label in np.flatnonzero(own):
        seen = known[:, label]
        choice = choose(found[seen, label], truth[seen, label] == 1, objective)
        thresholds[label], reached[label] = choice.threshold, choice.reached
    return Fit(calibration, thresholds, own, reached, together)


def out_of_fold(
    scores: NDArray[np.floating],
    truth: Truth,
    objective: Objective,
    method: Method,
    min_support: int,
    folds: int,
    seed: int,
) -> tuple[Array, NDArray[np.bool_]]:
    """Each image's calibrated scores, and which labels fire, by what was fitted on the other folds: both [N, C]."""
    found, fired = np.empty(scores.shape), np.empty(scores.shape, dtype=bool)
    for rest, fold in _folds(len(scores), folds, seed):
        one = fit(scores[rest], truth[rest], objective, method, min_support)
        found[fold] = calibrated(scores[fold], one.calibration)
        fired[fold] = found[fold] >= one.thresholds
    return found, fired


def _folds(images: int, folds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    order = np.random.default_rng(seed).permutation(images)
    for fold in np.array_split(order, folds):
        yield np.setdiff1d(order, fold, assume_unique=True), fold


def _calibration(z: Array, truth: Truth, method: Method, own: NDArray[np.bool_]) -> Calibration:
    none = Calibration.none(truth.shape[1])
    known = truth != UNKNOWN
    if method == "none" or not known.any():
        return none
    scale, shift = none.scale * _temperature(z[known], truth[known].astype(np.float64)), none.shift.copy()
    if method == "platt":
        for label in np.flatnonzero(own):
            seen = known[:, label]
            scale[label], shift[label] = _platt(z[seen, label], truth[seen, label].astype(np.float64))
    return Calibration(scale, shift)


def _temperature(z: Array, truth: Array) -> float:
    """The scale, one over the temperature, by maximum likelihood; where all is right already, at its bound."""
    found = minimize_scalar(
        lambda log_scale: _loss(z * np.exp(log_scale), truth).mean(), bounds=(-BOUND, BOUND), method="bounded"
    )
    return float(np.exp(found.x))


def _platt(z: Array, truth: Array) -> tuple[float, float]:
    """Scale and shift, with Platt's targets, so that separable scores give finite ones."""
    positives = truth.sum()
    high, low = (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2)
    target = np.where(truth == 1, high, low)

    def loss(parameters: Array) -> tuple[float, Array]:
        scale, shift = np.exp(parameters[0]), parameters[1]
        error = expit(z * scale + shift) - target
        return float(_loss(z * scale + shift, target).mean()), np.array([(error * z * scale).mean(), error.mean()])

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-BOUND, BOUND), (None, None)])
    return float(np.exp(found.x[0])), float(found.x[1])


def _loss(z: Array, target: Array) -> Array:
    found: Array = np.logaddexp(0, z) - z * target
    return found
