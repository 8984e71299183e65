"""Measures of scores and decisions: precision, recall, average precision, calibration error and others.

Every measure is made of sums over images. What they add up is prepared once. Weights [N, R] say how often each image
counts, and give R values of each measure at once, so that a bootstrap only needs weights. truth is [N, C]: 1, 0 or
UNKNOWN, which is left out everywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from scripts.quality.ranking import rank_with_cuts
from scripts.quality.refitting import Refit
from scripts.quality.scores import UNKNOWN

Array = NDArray[np.float64]
BINS = 15  # of the calibration error, equally wide

# Measures over all labels, in the order of the tables: the title, and the explanation in the report.
OVERALL = {
    "micro_precision": ("micro precision", "share of the labels given that are right"),
    "micro_recall": ("micro recall", "share of the true labels that are given"),
    "micro_f1": ("micro F1", "harmonic mean of precision and recall, over all labels"),
    "macro_precision": ("macro precision", "mean over the labels"),
    "macro_recall": ("macro recall", "mean over the labels"),
    "macro_f1": ("macro F1", "mean over the labels: rare ones count as much as others"),
    "map": ("mAP", "average precision, which needs no thresholds: mean over the labels"),
    "exact_match": ("exact match", "share of the images with every label right"),
    "hamming_loss": ("Hamming loss", "share of the decisions that are wrong; lower is better"),
    "calibration_error": (
        "calibration error",
        "mean distance between scores and the share that is true; lower is better",
    ),
}
MACRO = ("macro_precision", "macro_recall", "macro_f1", "map")  # means over the labels
# Images with and without a label, for an interval of a mean over labels to hold it; of precision, also answers with it.
SUPPORT = 20
LOWER_IS_BETTER = ("hamming_loss", "calibration_error")
PER_LABEL = ("precision", "recall", "f1", "average_precision")


@dataclass(frozen=True)
class Decisions:
    """Scores [N, C] from 0 to 1, which labels fire [N, C], and the truth [N, C]."""

    scores: Array
    fired: NDArray[np.bool_]
    truth: NDArray[np.int8]
    # [N, C]: what ranks the images, if not the scores. Out of fold, the calibrations of the folds would mix the order.
    ranks: Array | None = None
    refit: Refit | None = None  # how the decisions were fitted, if they are out of fold

    def only(self, places: NDArray[np.intp]) -> "Decisions":
        """About some of the images."""
        ranks = None if self.ranks is None else self.ranks[places]
        refit = None if self.refit is None else self.refit.only(places)
        return Decisions(self.scores[places], self.fired[places], self.truth[places], ranks, refit)


class Measures:
    """The measures of some decisions, under any weights of the images."""

    def __init__(self, decisions: Decisions) -> None:
        scores, fired, truth = decisions.scores, decisions.fired, decisions.truth
        known, positive = truth != UNKNOWN, truth == 1
        # [C, N] each, and sparse: most images have few labels.
        self._hits, self._alarms, self._misses = (
            csr_array(cells.T, dtype=np.float64)
            for cells in (fired & positive, fired & (truth == 0), ~fired & positive)
        )
        counted = known.any(axis=1)
        exact = ((fired == positive) | ~known).all(axis=1) & counted
        self._images = np.stack([exact, counted, known.sum(axis=1)]).astype(np.float64)
        self._surplus = _surplus(scores, truth)
        ranks = scores if decisions.ranks is None else decisions.ranks
        self._rankings = [_Ranking(ranks[:, label], truth[:, label]) for label in range(truth.shape[1])]
        self._refit = decisions.refit
        enough = (positive.sum(axis=0) >= SUPPORT) & ((truth == 0).sum(axis=0) >= SUPPORT)
        answered = enough & ((fired & known).sum(axis=0) >= SUPPORT)
        self.supported = {name: answered if name == "macro_precision" else enough for name in MACRO}

    def __call__(self, weights: Array | None = None) -> dict[str, Array]:
        """weights [N, R], by default each image once → [R] for each of OVERALL, [R, C] for each of PER_LABEL.

        With weights, decisions that are out of fold are made again, by thresholds that are fitted on these images.
        """
        refit = weights is not None
        if weights is None:
            weights = np.ones((self._images.shape[1], 1))
        hits, alarms, misses = ((counts @ weights).T for counts in (self._hits, self._alarms, self._misses))
        exact, counted, known = self._images @ weights
        if refit and self._refit is not None:
            again = self._refit(weights)
            hits, alarms, misses, exact = again.hits, again.alarms, again.misses, again.exact
        all_hits, all_alarms, all_misses = (counts.sum(axis=1) for counts in (hits, alarms, misses))
        # A label that no image has is left out of the means: it has no recall.
        present = hits + misses > 0
        per_label = {
            "precision": _ratio(hits, hits + alarms),
            "recall": _ratio(hits, hits + misses),
            "f1": _ratio(2 * hits, 2 * hits + alarms + misses),
            "average_precision": np.stack([ranking.average_precision(weights) for ranking in self._rankings], axis=1),
        }
        # A label that some image has and that is never given has a precision of 0, as in scikit-learn.
        shown = {f"macro_{name}": np.nan_to_num(per_label[name]) for name in ("precision", "recall", "f1")}
        shown["map"] = per_label["average_precision"]
        macro = {name: _mean(np.where(present, values, np.nan)) for name, values in shown.items()}
        supported = {
            f"{name}_supported": _mean(np.where(present & self.supported[name], values, np.nan))
            for name, values in shown.items()
        }
        return {
            "micro_precision": _ratio(all_hits, all_hits + all_alarms),
            "micro_recall": _ratio(all_hits, all_hits + all_misses),
            "micro_f1": _ratio(2 * all_hits, 2 * all_hits + all_alarms + all_misses),
            **macro,
            "exact_match": _ratio(exact, counted),
            "hamming_loss": _ratio(all_alarms + all_misses, known),
            # Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015: the
            # mean distance of score and share, weighted by the number of labels in each bin.
            "calibration_error": _ratio(np.abs(self._surplus @ weights).sum(axis=0), known),
            **supported,
            **per_label,
        }

    def perfect_calibration(self, seed: int = 0) -> tuple[float, float]:
        """The calibration error that scores without fault would show on so few images: the mean, and what 95 % of
        samples stay below.

        In each bin, the sum of scores minus truths is then normal around 0, with the deviation that it has here.
        """
        deviations = np.sqrt(self._surplus.shape[1] * self._surplus.var(axis=1))
        drawn = np.abs(np.random.default_rng(seed).normal(size=(4_000, BINS)) * deviations).sum(axis=1)
        errors = drawn / max(self._images[2].sum(), 1)
        return float(errors.mean()), float(np.percentile(errors, 95))

    def trials(self) -> dict[str, Array]:
        """How many decisions each share is of: [1] for each of OVERALL, [C] for each of PER_LABEL. F1 has a union."""
        once = np.ones((self._images.shape[1], 1))
        hits, alarms, misses = ((counts @ once).T[0] for counts in (self._hits, self._alarms, self._misses))
        _, counted, known = self._images @ once
        per_label = {
            "precision": hits + alarms,
            "recall": hits + misses,
            "f1": hits + alarms + misses,
            "average_precision": hits + misses,
        }
        overall = {f"micro_{name}": per_label[name].sum(keepdims=True) for name in ("precision", "recall", "f1")}
        for name in MACRO:
            column = name.removeprefix("macro_") if name != "map" else "average_precision"
            overall[name] = overall[f"{name}_supported"] = per_label[column][self.supported[name]].sum(keepdims=True)
        return {**per_label, **overall, "exact_match": counted, "hamming_loss": known}


class _Ranking:
    """The images in descending order of one label's score, down to the last one that has the label.

    They are divided into runs, each ending at a distinct score of an image with the label: recall grows only there.
    """

    def __init__(self, scores: Array, truth: NDArray[np.int8]) -> None:
        known = np.flatnonzero(truth != UNKNOWN)
        order, ends = rank_with_cuts(scores[known])
        positive = truth[known[order]] == 1
        found = np.cumsum(positive)[ends]
        grows = np.diff(found, prepend=0) > 0
        starts = np.append(0, ends[grows] + 1)
        images = known[order[: starts[-1]]]
        self._fired = _runs(images, starts, len(truth))
        self._right = _runs(images[positive[: starts[-1]]], np.append(0, found[grows]), len(truth))

    def average_precision(self, weights: Array) -> Array:
        """Σ (growth of recall · precision) over the distinct scores, as in scikit-learn: [R]."""
        if not self._right.shape[0]:
            return np.full(weights.shape[1], np.nan)
        growth = self._right @ weights
        right, fired = np.cumsum(growth, axis=0), np.cumsum(self._fired @ weights, axis=0)
        return _ratio((growth * right / np.maximum(fired, 1)).sum(axis=0), right[-1])


def _runs(images: NDArray[np.intp], starts: NDArray[np.intp], count: int) -> csr_array:
    """A row for each run, which adds up the weights of its images."""
    return csr_array((np.ones(len(images)), images, starts), shape=(len(starts) - 1, count))


def reliability(scores: Array, truth: NDArray[np.int8]) -> tuple[Array, Array, Array]:
    """For each of the BINS: the mean score, the share that is true, and the count. An empty bin has NaN, NaN and 0."""
    known = truth != UNKNOWN
    bins, score, true = _bins(scores[known]), scores[known], truth[known] == 1
    count, total, right = (
        np.bincount(bins, values, BINS).astype(np.float64) for values in (np.ones(len(bins)), score, true)
    )
    return _ratio(total, count), _ratio(right, count), count


def _surplus(scores: Array, truth: NDArray[np.int8]) -> Array:
    """[BINS, N]: for each image, the sum of its scores in a bin minus the number of true labels there."""
    surplus = np.where(truth == UNKNOWN, 0, scores - (truth == 1))
    cells = _bins(scores) * len(scores) + np.arange(len(scores))[:, None]
    sums: Array = np.bincount(cells.ravel(), surplus.ravel(), BINS * len(scores)).astype(np.float64)
    return sums.reshape(BINS, -1)


def _bins(scores: Array) -> NDArray[np.intp]:
    return np.minimum((scores * BINS).astype(np.intp), BINS - 1)


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where the whole is 0."""
    ratio: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
    return ratio


def _mean(values: Array) -> Array:
    """The mean of each row, without its NaNs."""
    return _ratio(np.nansum(values, axis=1), np.isfinite(values).sum(axis=1).astype(np.float64))
