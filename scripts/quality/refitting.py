"""Thresholds that are fitted again in each resample of a bootstrap, so that an interval holds the noise of the fit.

Without it, two equal versions whose thresholds were fitted on the same images differ too often. Only thresholds are
fitted again: a calibration keeps the order of a label's scores, and so hardly changes what fires.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import logit

from handler.calibration import Calibration
from scripts.quality.objective import Objective, best_cut
from scripts.quality.ranking import rank_with_cuts
from scripts.quality.scores import UNKNOWN
from scripts.quality.shrinking import shrunk, weight

Array = NDArray[np.float64]
MAX_CUTS = 256  # of a ranking, at quantiles of its positives: finer ones change no interval
MAX_CELLS = 8_000_000  # of an array with a column for each resample


@dataclass(frozen=True)
class Counts:
    """What measures of decisions are made of, for each of R resamples."""

    hits: Array  # [R, C]
    alarms: Array  # [R, C]
    misses: Array  # [R, C]
    exact: Array  # [R]: images with every known label right


@dataclass(frozen=True)
class Refit:
    """How the thresholds of some decisions were fitted.

    logits: [N, C] as the fit saw them. groups: [N], which of the calibrations each image is decided by; a threshold of
    group g is fitted on the images of all groups but g and the last one, which holds images that were not fitted on.
    """

    logits: Array
    truth: NDArray[np.int8]  # [N, C]
    groups: NDArray[np.intp]
    calibrations: Sequence[Calibration]  # one for each group
    objective: Objective
    otherwise: float  # the threshold of labels for which the objective's promise can't be made, of calibrated scores

    def only(self, places: NDArray[np.intp]) -> "Refit":
        """Some of the images."""
        return Refit(
            self.logits[places],
            self.truth[places],
            self.groups[places],
            self.calibrations,
            self.objective,
            self.otherwise,
        )

    def __call__(self, weights: Array) -> Counts:
        """weights: [N, R], how often each image is in each resample."""
        step = max(1, MAX_CELLS // max(len(weights), MAX_CUTS * len(self.calibrations)))
        parts = [self._counts(weights[:, start : start + step]) for start in range(0, weights.shape[1], step)]
        names = ("hits", "alarms", "misses", "exact")
        return Counts(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _counts(self, weights: Array) -> Counts:
        classes, resamples = self.logits.shape[1], weights.shape[1]
        shared = self._shared(weights) if self.objective.shares else np.empty(0)
        hits, alarms, misses = (np.zeros((resamples, classes)) for _ in range(3))
        right = np.ones(weights.shape, dtype=bool)
        for label in range(classes):
            z, truth = self.logits[:, label], self.truth[:, label]
            own, support, reached = self._own(label, weights)
            scale = np.array([[each.scale[label]] for each in self.calibrations])
            shift = np.array([[each.shift[label]] for each in self.calibrations])
            if self.objective.shares:
                own = (shrunk(shared, scale * own + shift, weight(support)) - shift) / scale
            own = np.where(reached, own, (logit(self.otherwise) - shift) / scale)
            fires = z[:, None] >= own[self.groups]
            positive, negative = truth == 1, truth == 0
            hits[:, label] = (weights[positive] * fires[positive]).sum(axis=0)
            misses[:, label] = weights[positive].sum(axis=0) - hits[:, label]
            alarms[:, label] = np.einsum("nr,nr->r", weights[negative], fires[negative])
            right &= (fires == positive[:, None]) | (truth == UNKNOWN)[:, None]
        counted = (self.truth != UNKNOWN).any(axis=1)
        return Counts(hits, alarms, misses, (weights[counted] * right[counted]).sum(axis=0))

    @property
    def _every(self) -> bool:
        return self.objective.kind == "precision"

    def _shared(self, weights: Array) -> Array:
        """The threshold of all labels together: [G, R], of calibrated logits."""
        known = self.truth != UNKNOWN
        images = np.broadcast_to(np.arange(len(known))[:, None], known.shape)[known]
        truth = self.truth[known] == 1
        groups = len(self.calibrations)
        thresholds = np.empty((groups, weights.shape[1]))
        for group, calibration in enumerate(self.calibrations):
            z = (self.logits * calibration.scale + calibration.shift)[known]
            if not group or not _same_order(self.calibrations[0], calibration):
                cuts = _Cuts.of(z, truth, images, self.groups, groups, len(weights), self._every)
                sums = cuts.sums(weights)
            thresholds[group] = cuts.thresholds(z)[cuts.best(sums, self.objective, group)[0]]
        return thresholds

    def _own(self, label: int, weights: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """The label's own thresholds, of logits, the positives or negatives, whichever are fewer, and whether they
        reach the objective: [G, R] each."""
        known = np.flatnonzero(self.truth[:, label] != UNKNOWN)
        z, groups = self.logits[known, label], len(self.calibrations)
        cuts = _Cuts.of(z, self.truth[known, label] == 1, known, self.groups, groups, len(weights), self._every)
        sums = cuts.sums(weights)
        found = [cuts.best(sums, self.objective, group) for group in range(groups)]
        best, support, reached = (np.stack(parts) for parts in zip(*found, strict=True))
        return cuts.thresholds(z)[best], support, reached


@dataclass(frozen=True)
class _Cuts:
    """The places in a ranking where a threshold may lie: before all, and after some of the positives."""

    above: NDArray[np.intp]  # [K + 1]: the image just above each cut, and the one just below
    below: NDArray[np.intp]
    fired: csr_array  # [G · (K + 1), N]: the images between a cut and the one before; the last row: all the rest
    right: csr_array  # those of them that have the label
    groups: int

    @classmethod
    def of(
        cls,
        z: Array,
        truth: NDArray[np.bool_],
        images: NDArray[np.intp],
        groups: NDArray[np.intp],
        count: int,
        total: int,
        every: bool,
    ) -> "_Cuts":
        """z, truth, images: [M]. groups: of each of `total` images; those of the last one are not fitted on."""
        fitted = np.flatnonzero(groups[images] < count - 1)
        order, ends = rank_with_cuts(z[fitted])
        order = fitted[order]
        found = np.cumsum(truth[order])[ends]
        # After a positive: no other cut can be better. A promise of precision is tested at cuts of any kind.
        after = ends if every else ends[np.diff(found, prepend=0) > 0]
        if len(after) > MAX_CUTS:
            after = after[np.unique(np.linspace(0, len(after) - 1, MAX_CUTS).astype(int))]
        last = len(order) - 1
        # The row of each image: the first cut that lies behind it, within its group.
        row = groups[images[order]] * (len(after) + 1) + np.searchsorted(after, np.arange(len(order)))
        shape = (count * (len(after) + 1), total)
        fired, right = (
            csr_array((np.ones(chosen.sum()), (row[chosen], images[order[chosen]])), shape=shape)
            for chosen in (np.ones(len(order), dtype=bool), truth[order])
        )
        if last < 0:
            return cls(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), fired, right, count)
        return cls(order[np.append(0, after)], order[np.append(0, np.minimum(after + 1, last))], fired, right, count)

    def thresholds(self, z: Array) -> Array:
        """[K + 1], halfway between two scores; the first one is above all. z: [M], in the order of the cuts."""
        if not len(self.above):
            return np.zeros(1)
        values: Array = (z[self.above] + z[self.below]) / 2
        values[0] = z[self.above[0]] + 1
        return values

    def sums(self, weights: Array) -> tuple[Array, Array]:
        """How many images of each group lie between the cuts, and how many of these have the label: [G, K + 1, R]."""
        fired, right = (
            (each @ weights).reshape(self.groups, -1, weights.shape[1]) for each in (self.fired, self.right)
        )
        return fired, right

    def best(
        self, sums: tuple[Array, Array], objective: Objective, group: int
    ) -> tuple[NDArray[np.intp], Array, NDArray[np.bool_]]:
        """The best cut for the images of the other groups, their positives or negatives, and whether it reaches the
        objective: [R] each."""
        fired, right = (each.sum(axis=0) - each[group] for each in sums)
        everything, positives = fired.sum(axis=0), right.sum(axis=0)
        none = np.zeros((1, fired.shape[1]))
        fired, right = (np.concatenate([none, np.cumsum(each[:-1], axis=0)]) for each in (fired, right))
        best, reached = best_cut(objective, fired, right, positives)
        return best, np.minimum(positives, everything - positives), reached


def _same_order(first: Calibration, second: Calibration) -> bool:
    """Whether both rank the scores of all labels together in the same way."""
    ratio = second.scale / first.scale
    return bool(np.allclose(ratio, ratio[0]) and not first.shift.any() and not second.shift.any())
