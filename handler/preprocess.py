"""The albumentations pipeline that training used, as data in the archive.

The file holds what `albumentations.to_dict` returns, so it names transforms of that library and can run no other code.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.contents import PREPROCESSING_FILE
from handler.errors import LoadError
from handler.files import read_json

# Before the import: albumentations asks the network for a newer version of itself.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import albumentations.pytorch

# Wide, tall and small: every photo must come out in one shape. (height, width)
PROBES = ((300, 451), (451, 300), (64, 64))
RUNS = 5  # of each, to catch a random choice that each run makes anew

Pipeline = Callable[[NDArray[np.uint8]], torch.Tensor]


def read_pipeline(directory: Path) -> tuple[Pipeline, tuple[int, int, int]]:
    """Returns the pipeline of an unpacked archive and the shape of its output, (3, H, W)."""
    path = directory / PREPROCESSING_FILE
    serialized = read_json(path, "an albumentations pipeline")
    pipeline = make_pipeline(serialized, path)
    return pipeline, probe(pipeline, path)


def make_pipeline(serialized: Any, source: object) -> Pipeline:
    """The serialized dict → a function from [H, W, 3] uint8 to [3, H', W'] float32."""
    if not isinstance(serialized, dict) or "transform" not in serialized:
        raise LoadError(source, "transform: missing, expected what albumentations.to_dict returns")
    _check_certain(serialized["transform"], source)
    try:
        transform = A.from_dict(serialized)
    except Exception as error:  # from_dict raises what the transforms' own validation raises
        raise LoadError(
            source, f"transform: {' '.join(str(error).split())}, expected albumentations transforms"
        ) from None

    def pipeline(pixels: NDArray[np.uint8]) -> torch.Tensor:
        image = transform(image=pixels)["image"]
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return image  # type: ignore[no-any-return]

    return pipeline


def _check_certain(step: Any, source: object) -> None:
    """Every transform must always apply. Albumentations reads a missing `p` as 0.5: half of the photos go without."""
    if isinstance(step, dict):
        name = step.get("__class_fullname__")
        certainty = step.get("p", 1 if "transforms" in step else "missing")
        if name is not None and certainty not in (0, 1):
            raise LoadError(source, f"transform: {name}: p: {certainty}, expected 1: randomness belongs to training")
        for inner in step.values():
            _check_certain(inner, source)
    elif isinstance(step, list):
        for inner in step:
            _check_certain(inner, source)


def probe(pipeline: Pipeline, source: object) -> tuple[int, int, int]:
    """Runs the pipeline on noise of several shapes and returns the one shape (3, H, W) that comes out.

    Raises LoadError where the shape depends on the photo, the samples aren't float32, or two runs differ: a random
    augmentation belongs to training.
    """
    noise = np.random.default_rng(0)
    shapes = set()
    for height, width in PROBES:
        pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        try:
            first, *others = (pipeline(pixels) for _ in range(RUNS))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise LoadError(source, f"transform: fails on an image of {width} x {height}: {reason}") from None
        if first.dtype != torch.float32:
            raise LoadError(source, f"transform: gives {first.dtype}, expected float32 (is Normalize missing?)")
        if not all(torch.equal(first, other) for other in others):
            raise LoadError(source, "transform: two runs differ, expected the deterministic validation pipeline")
        shapes.add(tuple(first.shape))
    shape = shapes.pop()
    if shapes or len(shape) != 3 or shape[0] != 3:
        raise LoadError(source, f"transform: gives {shape} and {sorted(shapes)}, expected one shape (3, height, width)")
    return shape
