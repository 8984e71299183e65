"""Faults to order: photos of one colour bring them about, at the edge where the network is called. tests/faulty.py adds
this to the adapter of an archive."""

import os
import time
from typing import Any

import torch

from handler.model import Model

_scores = Model.scores


def _colour(image: torch.Tensor) -> tuple[int, ...] | None:
    """Red, green and blue as 0 or 1 each, of a photo of one colour; None of any other."""
    return None if float(image.std((1, 2)).max()) > 0 else tuple(int(mean > 0) for mean in image.mean((1, 2)))


def _scores_with_faults(self: Model, images: torch.Tensor) -> Any:
    colours = [_colour(image) for image in images]
    if (1, 0, 0) in colours:  # red
        time.sleep(3600)
    if (0, 1, 0) in colours:  # green
        os.kill(os.getpid(), 9)
    if (0, 0, 1) in colours and len(colours) > 1:  # blue
        raise MemoryError
    if (1, 0, 1) in colours:  # magenta
        raise MemoryError
    return _scores(self, images)


Model.scores = _scores_with_faults  # type: ignore[method-assign]
