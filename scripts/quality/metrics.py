"""What scores and decisions are worth, with bootstrap intervals.

Every measure is a function of sums over images, so that a resample is a matter of weights: [R, N] weights give R values
of each measure at once. truth is [N, C]: 1, 0 or UNKNOWN, which counts for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.quality.ranking import rank_with_cuts
from scripts.quality.scores import UNKNOWN

Array = NDArray[np.float64]
BINS = 15  # of the calibration error, equally wide
CELLS = 4_000_000  # of weights at once

# In the order of a table, with what the report says of each.
OVERALL = {
    "micro_precision": ("micro precision", "of all labels given, the share that is right"),
    "micro_recall": ("micro recall", "of all labels that are there, the share that is given"),
    "micro_f1": ("micro F1", "precision and recall in one, over all labels"),
    "macro_precision": ("macro precision", "mean of the labels"),
    "macro_recall": ("macro recall", "mean of the labels"),
    "macro_f1": ("macro F1", "mean of the labels, rare ones as much as others"),
    "map": ("mAP", "average precision, whatever the thresholds: mean of the labels"),
    "exact_match": ("exact match", "images with every label right"),
    "hamming_loss": ("Hamming loss", "labels wrong; lower is better"),
    "calibration_error": ("calibration error", "how far scores are from the share that is true; lower is better"),
}
LOWER_IS_BETTER = ("hamming_loss", "calibration_error")
A_LABEL = ("precision", "recall", "f1", "average_precision")


@dataclass(frozen=True)
class Decided:
    """Scores [N, C] in 0 to 1, which labels fire [N, C], and the truth [N, C]."""

    scores: Array
    fired: NDArray[np.bool_]
    truth: NDArray[np.int8]


@dataclass(frozen=True)
class Interval:
    """The value on all images, and where 95 % of the resamples lie. NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


def measures(decided: Decided, weights: Array) -> dict[str, Array]:
    """weights [R, N] → [R] of each of OVERALL, [R, C] of each of A_LABEL."""
    truth, fired = decided.truth, decided.fired
    known = truth != UNKNOWN
    hits, alarms, misses = (
        weights @ each.astype(np.float64)
        for each in (fired & (truth == 1), fired & (truth == 0), ~fired & (truth == 1))
    )
    right = (fired == (truth == 1)) | ~known
    counted = known.any(axis=1)
    total = [each.sum(axis=1) for each in (hits, alarms, misses)]
    # A label that no image has can't be found: it is left out of the means.
    there = hits + misses > 0
    found = {
        "precision": _ratio(hits, hits + alarms),
        "recall": _ratio(hits, hits + misses),
        "f1": _ratio(2 * hits, 2 * hits + alarms + misses),
        "average_precision": _average_precision(decided, weights),
    }
    micro = {
        "micro_precision": _ratio(total[0], total[0] + total[1]),
        "micro_recall": _ratio(total[0], total[0] + total[2]),
        "micro_f1": _ratio(2 * total[0], 2 * total[0] + total[1] + total[2]),
    }
    # A label that is there and never given has a precision of 0, as scikit-learn counts it.
    macro = {
        f"macro_{name}": _mean(np.where(there, np.nan_to_num(found[name]), np.nan))
        for name in ("precision", "recall", "f1")
    }
    return {
        **micro,
        **macro,
        "map": _mean(np.where(there, found["average_precision"], np.nan)),
        "exact_match": _ratio(weights @ (right.all(axis=1) & counted), weights @ counted.astype(np.float64)),
        "hamming_loss": _ratio(total[1] + total[2], weights @ known.sum(axis=1).astype(np.float64)),
        "calibration_error": _calibration_error(decided, weights),
        **found,
    }


def bootstrap(decided: Decided, resamples: int, seed: int) -> dict[str, list[Interval]]:
    """An interval of each of OVERALL, alone in its list, and of each label's A_LABEL."""
    everything = measures(decided, np.ones((1, len(decided.truth))))
    parts = [measures(decided, weights) for weights in resampled(len(decided.truth), resamples, seed)]
    return {
        name: _intervals(value[0], np.concatenate([part[name] for part in parts])) for name, value in everything.items()
    }


def compare(first: Decided, second: Decided, resamples: int, seed: int) -> dict[str, Interval]:
    """second − first of each of OVERALL, on the same images: each resample takes the same ones of both."""

    def difference(weights: Array) -> Mapping[str, Array]:
        one, other = measures(first, weights), measures(second, weights)
        return {name: other[name] - one[name] for name in OVERALL}

    everything = difference(np.ones((1, len(first.truth))))
    parts = [difference(weights) for weights in resampled(len(first.truth), resamples, seed)]
    return {
        name: _intervals(value[0], np.concatenate([part[name] for part in parts]))[0]
        for name, value in everything.items()
    }


def resampled(images: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each image is in each resample: [up to R, N] at once, R of them in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // images)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        yield rng.multinomial(images, np.full(images, 1 / images), count).astype(np.float64)


def reliability(scores: Array, truth: NDArray[np.int8]) -> tuple[Array, Array, Array]:
    """Of each of BINS: the mean score, the share that is true, and how many; NaN, NaN and 0 of an empty one."""
    known = truth != UNKNOWN
    place, score, true = _bins(scores[known]), scores[known], truth[known] == 1
    count, total, right = (
        np.bincount(place, each, BINS).astype(np.float64) for each in (np.ones(len(place)), score, true)
    )
    return _ratio(total, count), _ratio(right, count), count


def _calibration_error(decided: Decided, weights: Array) -> Array:
    """Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015: the mean
    distance of score and share, weighted by the number of labels in each bin."""
    known = decided.truth != UNKNOWN
    surplus = np.where(known, decided.scores - (decided.truth == 1), 0)
    places = _bins(decided.scores)
    distance = np.zeros(len(weights))
    for place in range(BINS):
        distance += np.abs(weights @ np.where(places == place, surplus, 0).sum(axis=1))
    return _ratio(distance, weights @ known.sum(axis=1).astype(np.float64))


def _average_precision(decided: Decided, weights: Array) -> Array:
    """Σ (recall's growth · precision) over the distinct scores, as scikit-learn has it: [R, C]."""
    found = np.full((len(weights), decided.truth.shape[1]), np.nan)
    for label in range(decided.truth.shape[1]):
        known = np.flatnonzero(decided.truth[:, label] != UNKNOWN)
        if not len(known):
            continue
        order, ends = rank_with_cuts(decided.scores[known, label])
        order = known[order]
        mine = weights[:, order]
        fired = np.cumsum(mine, axis=1)[:, ends]
        right = np.cumsum(mine * (decided.truth[order, label] == 1), axis=1)[:, ends]
        growth = np.diff(right, axis=1, prepend=0)
        found[:, label] = _ratio((growth * np.nan_to_num(_ratio(right, fired))).sum(axis=1), right[:, -1])
    return found


def _bins(scores: Array) -> NDArray[np.intp]:
    return np.minimum((scores * BINS).astype(np.intp), BINS - 1)


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where there is nothing."""
    found: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return found


def _mean(values: Array) -> Array:
    """Of each row's numbers."""
    return _ratio(np.nansum(values, axis=1), np.isfinite(values).sum(axis=1).astype(np.float64))


def _intervals(value: NDArray[np.floating], resamples: Array) -> list[Interval]:
    rows = resamples.reshape(len(resamples), -1)
    found = []
    for place, one in enumerate(np.atleast_1d(value)):
        numbers = rows[:, place][np.isfinite(rows[:, place])]
        low, high = np.percentile(numbers, [2.5, 97.5]) if len(numbers) else (np.nan, np.nan)
        found.append(Interval(float(one), float(low), float(high)))
    return found
