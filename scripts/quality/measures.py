"""What scores and decisions are worth.

Every measure is made of sums over images, which are prepared once: weights [N, R], how often each image counts, then
give R values of each measure at once, so that a bootstrap is a matter of weights. truth is [N, C]: 1, 0 or UNKNOWN,
which counts for nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scripts.quality.ranking import rank_with_cuts
from scripts.quality.scores import UNKNOWN

Array = NDArray[np.float64]
BINS = 15  # of the calibration error, equally wide

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


class Measures:
    """Those of one Decided, under any weights of its images."""

    def __init__(self, decided: Decided) -> None:
        scores, fired, truth = decided.scores, decided.fired, decided.truth
        known, there = truth != UNKNOWN, truth == 1
        # [C, N] each, and nearly empty: most images have few labels.
        self._hits, self._alarms, self._misses = (
            csr_array(each.T, dtype=np.float64) for each in (fired & there, fired & (truth == 0), ~fired & there)
        )
        counted = known.any(axis=1)
        exact = ((fired == there) | ~known).all(axis=1) & counted
        self._images = np.stack([exact, counted, known.sum(axis=1)]).astype(np.float64)
        self._surplus = _surplus(scores, truth)
        self._ranked = [_Ranked(scores[:, label], truth[:, label]) for label in range(truth.shape[1])]

    def __call__(self, weights: Array | None = None) -> dict[str, Array]:
        """weights [N, R], or each image once → [R] of each of OVERALL, [R, C] of each of A_LABEL."""
        if weights is None:
            weights = np.ones((self._images.shape[1], 1))
        hits, alarms, misses = ((each @ weights).T for each in (self._hits, self._alarms, self._misses))
        exact, counted, known = self._images @ weights
        total = [each.sum(axis=1) for each in (hits, alarms, misses)]
        # A label that no image has can't be found: it is left out of the means.
        there = hits + misses > 0
        found = {
            "precision": _ratio(hits, hits + alarms),
            "recall": _ratio(hits, hits + misses),
            "f1": _ratio(2 * hits, 2 * hits + alarms + misses),
            "average_precision": np.stack([each.average_precision(weights) for each in self._ranked], axis=1),
        }
        # A label that is there and never given has a precision of 0, as scikit-learn counts it.
        macro = {
            f"macro_{name}": _mean(np.where(there, np.nan_to_num(found[name]), np.nan))
            for name in ("precision", "recall", "f1")
        }
        return {
            "micro_precision": _ratio(total[0], total[0] + total[1]),
            "micro_recall": _ratio(total[0], total[0] + total[2]),
            "micro_f1": _ratio(2 * total[0], 2 * total[0] + total[1] + total[2]),
            **macro,
            "map": _mean(np.where(there, found["average_precision"], np.nan)),
            "exact_match": _ratio(exact, counted),
            "hamming_loss": _ratio(total[1] + total[2], known),
            # Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015: the
            # mean distance of score and share, weighted by the number of labels in each bin.
            "calibration_error": _ratio(np.abs(self._surplus @ weights).sum(axis=0), known),
            **found,
        }


class _Ranked:
    """The images of one label, from the best score to the last that has it, parted into as many runs as there are
    distinct scores among those that have it: only there does recall grow."""

    def __init__(self, scores: Array, truth: NDArray[np.int8]) -> None:
        known = np.flatnonzero(truth != UNKNOWN)
        order, ends = rank_with_cuts(scores[known])
        there = truth[known[order]] == 1
        so_far = np.cumsum(there)[ends]
        grows = np.diff(so_far, prepend=0) > 0
        starts = np.append(0, ends[grows] + 1)
        images = known[order[: starts[-1]]]
        self._fired = _runs(images, starts, len(truth))
        self._right = _runs(images[there[: starts[-1]]], np.append(0, so_far[grows]), len(truth))

    def average_precision(self, weights: Array) -> Array:
        """Σ (recall's growth · precision) over the distinct scores, as scikit-learn has it: [R]."""
        if not self._right.shape[0]:
            return np.full(weights.shape[1], np.nan)
        growth = self._right @ weights
        right, fired = np.cumsum(growth, axis=0), np.cumsum(self._fired @ weights, axis=0)
        return _ratio((growth * right / np.maximum(fired, 1)).sum(axis=0), right[-1])


def _runs(images: NDArray[np.intp], starts: NDArray[np.intp], count: int) -> csr_array:
    """A row a run, that adds up its images' weights."""
    return csr_array((np.ones(len(images)), images, starts), shape=(len(starts) - 1, count))


def reliability(scores: Array, truth: NDArray[np.int8]) -> tuple[Array, Array, Array]:
    """Of each of BINS: the mean score, the share that is true, and how many; NaN, NaN and 0 of an empty one."""
    known = truth != UNKNOWN
    place, score, true = _bins(scores[known]), scores[known], truth[known] == 1
    count, total, right = (
        np.bincount(place, each, BINS).astype(np.float64) for each in (np.ones(len(place)), score, true)
    )
    return _ratio(total, count), _ratio(right, count), count


def _surplus(scores: Array, truth: NDArray[np.int8]) -> Array:
    """[BINS, N]: the scores in a bin less the labels that are there, of each image."""
    surplus = np.where(truth == UNKNOWN, 0, scores - (truth == 1))
    cells = _bins(scores) * len(scores) + np.arange(len(scores))[:, None]
    found: Array = np.bincount(cells.ravel(), surplus.ravel(), BINS * len(scores)).astype(np.float64)
    return found.reshape(BINS, -1)


def _bins(scores: Array) -> NDArray[np.intp]:
    return np.minimum((scores * BINS).astype(np.intp), BINS - 1)


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where there is nothing."""
    found: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return found


def _mean(values: Array) -> Array:
    """Of each row's numbers."""
    return _ratio(np.nansum(values, axis=1), np.isfinite(values).sum(axis=1).astype(np.float64))
