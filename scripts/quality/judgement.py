"""Which photos judge a second version of an archive whose making needed some of them, and what they show."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handler.errors import LoadError
from scripts.quality.comparison import Comparison
from scripts.quality.evaluation import as_scored, fit_known
from scripts.quality.fitted import parse_fitted_on
from scripts.quality.scores import Scores, joined

Places = NDArray[np.intp]


def split(scores: Scores, photos: int, seed: int, source: Path) -> tuple[Places, Places]:
    """The places of those to make it with, `photos` at the most, and of those to judge by.

    By their content: the same photos are split alike in any order. Those that the archive was fitted on can't judge, so
    they come first; of the others a quarter is taken at the most. Raises LoadError if it isn't known which were fitted
    on, or if none is left to judge by.
    """
    if not fit_known(scores):
        problem = "the archive's calibration does not say on which photos it was fitted"
        raise LoadError(source, f"{problem}, expected one of today's scripts/calibrate.py")
    fitted_on = None if scores.origin.fit is None else parse_fitted_on(scores.origin.fit)
    fitted = np.zeros(len(scores.images), bool) if fitted_on is None else fitted_on.includes(scores.images)
    keys = [hashlib.sha256(f"{seed} {image}".encode()).digest() for image in scores.images]
    order = np.array(sorted(range(len(keys)), key=lambda place: (not fitted[place], keys[place])), np.intp)
    count = min(photos, int(fitted.sum()) + max(1, int((~fitted).sum()) // 4))
    used, rest = np.sort(order[:count]), np.sort(order[count:])
    judged = rest[~fitted[rest]]
    if not len(judged):
        problem = f"{len(keys)} photos, and the archive was fitted on {int(fitted.sum())} of them"
        raise LoadError(source, f"{problem}: none is left to judge by, expected other photos")
    return used, judged


def judge(before: Scores, after: Scores, judged: Places, margin: float, resamples: int, seed: int) -> Comparison:
    """The second version against the first, as both serve, on these photos of the first. Raises LoadError."""
    first = before.only(judged)
    mine, theirs = joined(first, after)
    versions = [as_scored(part, resamples, seed) for part in (first.only(mine), after.only(theirs))]
    return Comparison(versions[0], versions[1], first.labels, margin, [first.paths[place] for place in mine])
