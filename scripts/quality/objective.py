"""What a threshold is chosen for, and the best threshold for it on given scores."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.quality.ranking import rank_with_cuts

Kind = Literal["f", "precision", "recall", "cost"]
MARGIN = 1e-6  # a threshold stays this far from 0 and 1


@dataclass(frozen=True)
class Objective:
    """What the kinds ask for.

    f: the best F-measure with beta `value`. precision, recall: at least `value`, then the most of the other.
    cost: the lowest cost of all errors, where a miss costs as much as `value` false alarms.
    """

    kind: Kind
    value: float

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
    reached: bool  # False where no threshold gives the precision or recall asked for: then this one comes nearest


def choose(scores: NDArray[np.floating], truth: NDArray[np.bool_], objective: Objective) -> Choice:
    """scores [N] from 0 to 1, truth [N]. The threshold lies halfway between two different scores."""
    order, ends = rank_with_cuts(scores)
    ranked = scores[order].astype(np.float64)
    # At each cut, the number of images that fire, and how many of these have the label.
    fired = np.append(0, ends + 1)
    right = np.append(0, np.cumsum(truth[order])[ends])
    above, below = np.append(1.0, ranked[ends]), np.append(ranked[np.append(0, ends + 1)[:-1]], 0.0)
    thresholds = np.clip((above + below) / 2, MARGIN, 1 - MARGIN)
    merit, reached = _merit(objective, fired, right, int(truth.sum()))
    # A threshold lies strictly between 0 and 1: a score of 0 can never fire, a score of 1 always does.
    possible = ((above >= thresholds) | (fired == 0)) & ((below < thresholds) | (fired == len(ranked)))
    best = int(np.argmax(np.where(possible, merit, -np.inf)))
    return Choice(float(thresholds[best]), bool(reached[best]))


def _merit(
    objective: Objective, fired: NDArray[np.intp], right: NDArray[np.intp], positives: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each cut: its merit, the higher the better, and whether the objective is reached there."""
    precision = right / np.maximum(fired, 1)
    recall = right / max(positives, 1)
    always = np.ones(len(fired), dtype=bool)
    if objective.kind == "f":
        square = objective.value**2
        # (1 + β²) TP / ((1 + β²) TP + β² FN + FP). Without positives it is best that nothing fires.
        return (1 + square) * right / np.maximum(square * positives + fired, 1) - (fired > 0) * (positives == 0), always
    if objective.kind == "cost":
        return -(objective.value * (positives - right) + (fired - right)).astype(np.float64), always
    required, other = (precision, recall) if objective.kind == "precision" else (recall, precision)
    reached = (required >= objective.value) & (right > 0)
    # Cuts that reach the value come first, ordered by the other measure; the rest by how near they come to it.
    return np.where(reached, 2 + other, required + other * 1e-9), reached
