"""Thresholds of labels with few images, drawn towards the threshold of all labels together.

A label's own threshold is noise where few images have the label, and right where many have it. k / (k + 5) of the way
from the shared one, in logits, was best or equal from 1 to 100 images (docs/quality.md).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HALFWAY = 5  # images at which a threshold lies halfway between the shared one and its own


def weight(support: Array) -> Array:
    """The part of a label's own threshold. support: the images with or without the label, whichever are fewer."""
    part: Array = support / (support + HALFWAY)
    return part


def shrunk(shared: Array, own: Array, part: Array) -> Array:
    """All of logits. part: of the label's own, from 0 to 1."""
    logit: Array = shared + part * (own - shared)
    return logit
