"""Scores in descending order, and the places where a threshold can separate them."""

import numpy as np
from numpy.typing import NDArray


def rank_with_cuts(scores: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """scores [N] → their order, best first, and the places in it after which a cut is possible.

    There is none between equal scores.
    """
    order = np.argsort(-scores, kind="stable")
    if not len(order):
        return order, np.empty(0, dtype=np.intp)
    return order, np.flatnonzero(np.append(np.diff(scores[order]) < 0, True))
