"""What a threshold is chosen for, and the one that does it best on given scores."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.quality.ranking import rank_with_cuts

Kind = Literal["f", "precision", "recall", "cost"]
LEAST = 1e-6  # a threshold is this far from 0 and 1


@dataclass(frozen=True)
class Objective:
    """f: the best F with beta `value`. precision, recall: at least `value`, and then the most of the other. cost: the
    least of all errors, a miss as dear as `value` false alarms."""

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
    threshold: float  # above 0 and below 1; a label fires at it or above
    reached: bool  # whether the precision or recall that was asked can be had; else it is the nearest to it


def choose(scores: NDArray[np.floating], truth: NDArray[np.bool_], objective: Objective) -> Choice:
    """scores [N] in 0 to 1, truth [N]. Equal scores are never told apart; the threshold lies halfway between two."""
    order, ends = rank_with_cuts(scores)
    ranked = scores[order].astype(np.float64)
    # At each cut: so many fire, and so many of them rightly.
    fired = np.append(0, ends + 1)
    right = np.append(0, np.cumsum(truth[order])[ends])
    above, below = np.append(1.0, ranked[ends]), np.append(ranked[np.append(0, ends + 1)[:-1]], 0.0)
    thresholds = np.clip((above + below) / 2, LEAST, 1 - LEAST)
    merit, reached = _merit(objective, fired, right, int(truth.sum()))
    # No threshold lets a score of 0 fire, or keeps one of 1 from it.
    possible = ((above >= thresholds) | (fired == 0)) & ((below < thresholds) | (fired == len(ranked)))
    best = int(np.argmax(np.where(possible, merit, -np.inf)))
    return Choice(float(thresholds[best]), bool(reached[best]))


def _merit(
    objective: Objective, fired: NDArray[np.intp], right: NDArray[np.intp], positives: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each cut: the higher, the better; and whether the objective is reached there."""
    precision = right / np.maximum(fired, 1)
    recall = right / max(positives, 1)
    always = np.ones(len(fired), dtype=bool)
    if objective.kind == "f":
        square = objective.value**2
        # (1 + β²) TP / ((1 + β²) TP + β² FN + FP); with nothing to find, best is to find nothing.
        return (1 + square) * right / np.maximum(square * positives + fired, 1) - (fired > 0) * (positives == 0), always
    if objective.kind == "cost":
        return -(objective.value * (positives - right) + (fired - right)).astype(np.float64), always
    asked, other = (precision, recall) if objective.kind == "precision" else (recall, precision)
    reached = (asked >= objective.value) & (right > 0)
    # Among those that reach it, more of the other; else nearer to it, and then more of the other.
    return np.where(reached, 2 + other, asked + other * 1e-9), reached
