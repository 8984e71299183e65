"""Scores and truth → a calibration and thresholds, and cross-validated decisions.

Scores are [N, C] from 0 to 1, truth is [N, C]: 1, 0 or UNKNOWN, which is left out.
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
# Scores are stored as float32, which can't hold one nearer to 1: logits beyond ±16.6 are clipped.
RESOLUTION = 2.0**-24
LOG_SCALE_BOUND = 6.0  # a scale lies between exp(-6) and exp(6)


@dataclass(frozen=True)
class Fit:
    calibration: Calibration
    thresholds: Array  # [C], for calibrated scores
    own: NDArray[np.bool_]  # [C]: whether the label has its own threshold, or the shared one
    reached: NDArray[np.bool_]  # [C]: whether the threshold reaches the objective
    shared: float  # the threshold fitted on all labels together


def logits(scores: NDArray[np.floating]) -> Array:
    """Finite for 0 and 1 as well, because scores are clipped."""
    finite: Array = logit(np.clip(scores.astype(np.float64), RESOLUTION, 1 - RESOLUTION))
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


def fit(scores: NDArray[np.floating], truth: Truth, objective: Objective, method: Method, min_support: int) -> Fit:
    """Labels with fewer than `min_support` positives or negatives get the scale and threshold fitted on all labels."""
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    own = (positives >= min_support) & (negatives >= min_support)
    calibration = _calibration(logits(scores), truth, method, own)
    fitted = calibrated(scores, calibration)
    known = truth != UNKNOWN
    shared = choose(fitted[known], truth[known] == 1, objective).threshold
    thresholds = np.full(truth.shape[1], shared)
    reached = np.ones(truth.shape[1], dtype=bool)
    for label in np.flatnonzero(own):
        rows = known[:, label]
        choice = choose(fitted[rows, label], truth[rows, label] == 1, objective)
        thresholds[label], reached[label] = choice.threshold, choice.reached
    return Fit(calibration, thresholds, own, reached, shared)


def out_of_fold(
    scores: NDArray[np.floating],
    truth: Truth,
    objective: Objective,
    method: Method,
    min_support: int,
    folds: int,
    seed: int,
) -> tuple[Array, NDArray[np.bool_]]:
    """Calibrated scores and which labels fire, both [N, C]. Each image is decided by a fit on the other folds."""
    held_out, fired = np.empty(scores.shape), np.empty(scores.shape, dtype=bool)
    for rest, fold in _folds(len(scores), folds, seed):
        fitted = fit(scores[rest], truth[rest], objective, method, min_support)
        held_out[fold] = calibrated(scores[fold], fitted.calibration)
        fired[fold] = held_out[fold] >= fitted.thresholds
    return held_out, fired


def _folds(images: int, folds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of the images to fit on and those to decide."""
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
            rows = known[:, label]
            scale[label], shift[label] = _platt(z[rows, label], truth[rows, label].astype(np.float64))
    return Calibration(scale, shift)


def _temperature(z: Array, truth: Array) -> float:
    """The scale, 1 / temperature, by maximum likelihood. It ends at its bound where every decision is right already."""
    best = minimize_scalar(
        lambda log_scale: _loss(z * np.exp(log_scale), truth).mean(),
        bounds=(-LOG_SCALE_BOUND, LOG_SCALE_BOUND),
        method="bounded",
    )
    return float(np.exp(best.x))


def _platt(z: Array, truth: Array) -> tuple[float, float]:
    """Scale and shift by maximum likelihood. Platt's targets keep them finite where the scores separate the classes."""
    positives = truth.sum()
    high, low = (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2)
    target = np.where(truth == 1, high, low)

    def loss(parameters: Array) -> tuple[float, Array]:
        scale, shift = np.exp(parameters[0]), parameters[1]
        error = expit(z * scale + shift) - target
        return float(_loss(z * scale + shift, target).mean()), np.array([(error * z * scale).mean(), error.mean()])

    best = minimize(
        loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-LOG_SCALE_BOUND, LOG_SCALE_BOUND), (None, None)]
    )
    return float(np.exp(best.x[0])), float(best.x[1])


def _loss(z: Array, target: Array) -> Array:
    loss: Array = np.logaddexp(0, z) - z * target
    return loss
