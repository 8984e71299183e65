"""What a threshold is chosen for, and the best threshold for it on given scores."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from scripts.quality.ranking import rank_with_cuts

Kind = Literal["f", "precision", "recall", "cost"]
MARGIN = 1e-6  # a threshold stays this far from 0 and 1
NEVER = float(np.nextafter(1, 0))  # a threshold that no score reaches, but for those that float32 rounds to 1
STEP = 1.1  # from one tested number of images to the next


@dataclass(frozen=True)
class Objective:
    """What the kinds ask for.

    f: the best F-measure with beta `value`. cost: the lowest cost of all errors, where a miss costs as much as `value`
    false alarms. precision, recall: a promise for new images of at least `value`, with the probability `confidence`,
    and then the most of the other.
    """

    kind: Kind
    value: float
    confidence: float = 0.9

    @property
    def promises(self) -> bool:
        return self.kind in ("precision", "recall")

    @property
    def shares(self) -> bool:
        """Whether labels with few images are drawn towards the threshold of all; a promise is for each label alone."""
        return not self.promises

    def __str__(self) -> str:
        names = {
            "f": "F{:g}",
            "precision": "precision of {:g}",
            "recall": "recall of {:g}",
            "cost": "a miss costs {:g}",
        }
        return names[self.kind].format(self.value)


@dataclass(frozen=True)
class Choice:
    threshold: float  # above 0 and below 1; a label fires at this score or above
    reached: bool  # False where no threshold can promise the precision or recall asked for


def choose(scores: NDArray[np.floating], truth: NDArray[np.bool_], objective: Objective) -> Choice:
    """scores [N] from 0 to 1, truth [N]. The threshold lies halfway between two different scores.

    Where a promise can't be made, it is NEVER.
    """
    order, ends = rank_with_cuts(scores)
    ranked = scores[order].astype(np.float64)
    # At each cut, the number of images that fire, and how many of these have the label.
    fired = np.append(0, ends + 1)
    right = np.append(0, np.cumsum(truth[order])[ends])
    above, below = np.append(1.0, ranked[ends]), np.append(ranked[np.append(0, ends + 1)[:-1]], 0.0)
    thresholds = np.clip((above + below) / 2, MARGIN, 1 - MARGIN)
    # A threshold lies strictly between 0 and 1: a score of 0 can never fire, a score of 1 always does.
    possible = ((above >= thresholds) | (fired == 0)) & ((below < thresholds) | (fired == len(ranked)))
    best, reached = best_cut(objective, fired, right, truth.sum(), possible)
    return Choice(float(thresholds[best]) if reached else NEVER, bool(reached))


def best_cut(
    objective: Objective,
    fired: NDArray[Any],
    right: NDArray[Any],
    positives: NDArray[Any],
    possible: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where the objective is best, and whether it is reached there: [R] each, or one of each.

    fired, right: [K, R] or [K], the images that fire at each cut, from the highest threshold on, and how many of these
    have the label. positives: [R], or one number.
    """
    if objective.promises:
        kept = (_precise if objective.kind == "precision" else _complete)(objective, fired, right, positives)
        if possible is not None:
            kept &= possible
        # The most recall is at the lowest threshold that is kept, the most precision at the highest.
        best = (
            len(kept) - 1 - np.argmax(kept[::-1], axis=0) if objective.kind == "precision" else np.argmax(kept, axis=0)
        )
        return best, np.asarray(kept.any(axis=0))
    if objective.kind == "f":
        square = objective.value**2
        # (1 + β²) TP / ((1 + β²) TP + β² FN + FP). Without positives it is best that nothing fires.
        merit = (1 + square) * right / np.maximum(square * positives + fired, 1) - (fired > 0) * (positives == 0)
    else:
        merit = -(objective.value * (positives - right) + (fired - right)).astype(np.float64)
    if possible is not None:
        merit = np.where(possible, merit, -np.inf)
    return np.argmax(merit, axis=0), np.ones(merit.shape[1:], dtype=bool)


def _precise(objective: Objective, fired: NDArray[Any], right: NDArray[Any], _: NDArray[Any]) -> NDArray[np.bool_]:
    """[K, ...]: the cuts that hold the precision, tested from the highest threshold on until the first that doesn't.

    This order needs no correction for the number of tests: fixed-sequence testing, as in Angelopoulos et al., Learn
    then test, 2021. The cuts that are tested depend on the number of images alone, never on the truth. The first is
    where a precision of 1 would do; each further one has a tenth more images.
    """
    risk = 1 - objective.confidence
    if objective.value >= 1 or risk <= 0:
        return np.zeros(fired.shape, dtype=bool)
    least = np.ceil(np.log(risk) / np.log(objective.value))
    step = np.floor(np.log(np.maximum(fired, 1) / least) / np.log(STEP))
    before = np.concatenate([np.full((1, *step.shape[1:]), -np.inf), step[:-1]])
    tested = (step > before) & (fired >= least)
    holds = _exceeds(right, fired, objective.value, risk)
    alive = np.cumsum(tested & ~holds, axis=0) == 0
    proven: NDArray[np.bool_] = tested & holds & alive
    return proven


def _complete(objective: Objective, _: NDArray[Any], right: NDArray[Any], positives: NDArray[Any]) -> NDArray[np.bool_]:
    """[K, ...]: the cuts that hold the recall. It grows from cut to cut, so all below the first one hold it too."""
    return _exceeds(right, np.broadcast_to(positives, right.shape), objective.value, 1 - objective.confidence)


def _exceeds(right: NDArray[Any], trials: NDArray[Any], share: float, risk: float) -> NDArray[np.bool_]:
    """Whether so many right ones of all trials prove a share of at least `share`, by the exact test.

    It is so where the lower bound of Clopper and Pearson (The use of confidence or fiducial limits, 1934) is at least
    the share: where a share just below it would give so many with a probability of `risk` at the most.
    """
    k = np.maximum(right, 1)
    proven: NDArray[np.bool_] = (right > 0) & (betainc(k, np.maximum(trials - k, 0) + 1, share) <= risk)
    return proven
