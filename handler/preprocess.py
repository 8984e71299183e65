"""The albumentations pipeline that training used, as data in the archive.

The file holds what `albumentations.to_dict` returns, so it names transforms of that library and can run no other code.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from handler.contents import PREPROCESSING_FILE
from handler.dialects import as_of_today
from handler.errors import LoadError, one_line
from handler.files import read_json

# Before the import: albumentations asks the network for a newer version of itself.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import albumentations.pytorch

from handler.pillow import PillowResize

# Wide, tall and small photos, (height, width): all must come out in one shape.
PROBES = ((300, 451), (451, 300), (64, 64))
CURES = {
    torch.uint8: "put Normalize, or ToFloat, before ToTensorV2",
    torch.float64: "put ToFloat(max_value=1) after Normalize, which gives so per channel",
}
SIZING = (A.Resize, A.SmallestMaxSize, A.LongestMaxSize, A.PadIfNeeded, PillowResize)
RUNS = 5  # of each probe, to catch a random choice


class Normalise(torch.nn.Module):
    """[N, H, W, 3] uint8 → [N, 3, H, W] float32: albumentations' `Normalize` and `ToTensorV2`, for a batch at once."""

    mean: torch.Tensor  # [3, 1, 1]
    scale: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], max_pixel_value: float) -> None:
        super().__init__()
        limit = np.float32(max_pixel_value)
        # In the order and precision of albumentations: the same bits come out.
        self.register_buffer("mean", _channels(np.asarray(mean, np.float32) * limit), persistent=False)
        self.register_buffer("scale", _channels(np.reciprocal(np.asarray(std, np.float32) * limit)), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) * self.scale


@dataclass(frozen=True)
class Resize:
    """The resize with which a pipeline begins."""

    shortest_side: int  # pixels that it needs of the shorter side
    averages: bool  # whether it shrinks by means of all pixels, as a JPEG decoder does


@dataclass(frozen=True)
class Pipeline:
    """`prepare` runs for each photo, `normalise` for each batch."""

    prepare: Callable[[NDArray[np.uint8]], NDArray[Any]]  # [h, w, 3] uint8 → what `normalise` takes a batch of
    normalise: torch.nn.Module  # [N, H, W, 3] uint8, or an identity where `prepare` has done it → [N, 3, H, W] float32
    resize: Resize | None

    def prepared_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """What `prepare` gives where the network takes (3, H, W)."""
        channels, height, width = input_shape
        return (height, width, channels) if isinstance(self.normalise, Normalise) else input_shape

    def __call__(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Prepares and normalises one photo: [h, w, 3] uint8 → [3, H, W] float32."""
        return self.normalise(torch.from_numpy(self.prepare(pixels)[None].copy()))[0]  # type: ignore[no-any-return]


def read_pipeline(directory: Path) -> tuple[Pipeline, tuple[int, int, int]]:
    """Returns the pipeline of an unpacked archive and the shape of its output, (3, H, W)."""
    path = directory / PREPROCESSING_FILE
    serialized = read_json(path, "an albumentations pipeline")
    pipeline = make_pipeline(serialized, path)
    return pipeline, probe(pipeline, path)


def make_pipeline(serialized: Any, source: object) -> Pipeline:
    """Makes the pipeline of a serialized dict. Normalisation waits for the batch where that gives the same bits.

    Raises LoadError.
    """
    if not isinstance(serialized, dict) or "transform" not in serialized:
        raise LoadError(source, "transform: missing, expected what albumentations.to_dict returns")
    serialized = as_of_today(serialized, source)
    _check_certain(serialized["transform"], source)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Argument\(s\) ")  # _check_arguments refuses them
            transform = A.from_dict(serialized)
    except Exception as error:  # from_dict raises what the transforms' own validation raises
        raise LoadError(source, f"transform: {one_line(error)}, expected albumentations transforms") from None
    _check_arguments(transform, source)
    _check_crops(transform, source)
    steps = list(transform) if isinstance(transform, A.Compose) else [transform]
    resize = _resize(steps[0]) if steps else None
    last = [step for step in steps if not isinstance(step, A.pytorch.ToTensorV2)][-1:]
    if last and (normalise := _normalise(last[0])) is not None:
        front = A.Compose(steps[: steps.index(last[0])])
        if _gives_bytes(front):
            return Pipeline(lambda pixels: front(image=pixels)["image"], normalise, resize)

    def prepare(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        image = transform(image=pixels)["image"]
        return image.transpose(2, 0, 1) if isinstance(image, np.ndarray) else image.numpy()

    return Pipeline(prepare, torch.nn.Identity(), resize)


def _resize(step: Any) -> Resize | None:
    if isinstance(step, PillowResize):
        return Resize(step.height if step.mode == "shorter" else max(step.height, step.width), step.smooths)
    if isinstance(step, A.Resize):
        side = max(step.height, step.width)
    elif isinstance(step, A.SmallestMaxSize | A.LongestMaxSize) and isinstance(step.max_size, int):
        side = step.max_size
    else:
        return None
    return Resize(side, step.interpolation == cv2.INTER_AREA or getattr(step, "area_for_downscale", None) == "image")


def _normalise(step: Any) -> Normalise | None:
    """The same normalisation for a batch, if it gives the same bits for every value of a byte."""
    if not isinstance(step, A.Normalize) or step.normalization != "standard":
        return None
    normalise = Normalise(step.mean, step.std, step.max_pixel_value)
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    expected = torch.from_numpy(step(image=ramp)["image"]).permute(2, 0, 1)
    return normalise if torch.equal(normalise(torch.from_numpy(ramp)[None])[0], expected) else None


def _gives_bytes(front: A.Compose) -> bool:
    try:
        images = [front(image=np.zeros((*size, 3), np.uint8))["image"] for size in PROBES]
    except Exception:  # `probe` says what is wrong with it
        return False
    return all(isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 for image in images)


def _channels(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.broadcast_to(values, 3).copy()).view(3, 1, 1)


def _check_arguments(step: Any, source: object) -> None:
    """albumentations only warns of an argument that it does not know, and goes on without it. Some it writes itself."""
    unknown = set(getattr(step, "invalid_args", ())) - step.to_dict()["transform"].keys()
    if unknown:
        name = type(step).__name__
        raise LoadError(source, f"transform: {name}: {min(unknown)}: unknown, expected an argument of {name}")
    for inner in getattr(step, "transforms", ()):
        _check_arguments(inner, source)


def _check_certain(step: Any, source: object) -> None:
    """Every transform must always apply. Albumentations reads a missing `p` as 0.5: half of the photos go without."""
    if isinstance(step, dict):
        name = step.get("__class_fullname__")
        certainty = step.get("p", 1 if "transforms" in step else "missing")
        if name is not None and certainty == 0:
            raise LoadError(source, f"transform: {name}: p: 0, so it never applies; expected 1, or no {name}")
        if name is not None and certainty != 1:
            raise LoadError(source, f"transform: {name}: p: {certainty}, expected 1: randomness belongs to training")
        for inner in step.values():
            _check_certain(inner, source)
    elif isinstance(step, list):
        for inner in step:
            _check_certain(inner, source)


def _check_crops(transform: Any, source: object) -> None:
    """A crop needs photos that are large enough: a resize or a padding has to come before it."""
    for step in _leaves(transform):
        if isinstance(step, SIZING):
            return
        if isinstance(step, A.CenterCrop) and not step.pad_if_needed:
            height, width = step.height, step.width
        elif isinstance(step, A.Crop) and not step.pad_if_needed:
            height, width = step.y_max, step.x_max
        else:
            continue
        raise LoadError(
            source,
            f"transform: {type(step).__name__}: without a resize before it, it can't take photos of less than {height} "
            f"rows or {width} columns; expected a resize before it, or pad_if_needed: true",
        )


def _leaves(step: Any) -> Iterator[Any]:
    if not hasattr(step, "transforms"):
        yield step
    for inner in getattr(step, "transforms", ()):
        yield from _leaves(inner)


def probe(pipeline: Pipeline, source: object) -> tuple[int, int, int]:
    """Runs the pipeline on noise of several shapes and returns the one shape (3, H, W) that comes out.

    Raises LoadError where the shape depends on the photo, where the samples aren't float32, or where two runs differ: a
    random augmentation belongs to training.
    """
    shapes = {_probe_shape(pipeline, height, width, source) for height, width in PROBES}
    if len(shapes) == 1 and len(shape := next(iter(shapes))) == 3:
        # Padding shows only on a photo that is larger than what it pads to.
        shapes.add(_probe_shape(pipeline, 2 * shape[1] + 1, 2 * shape[2] + 3, source))
    shape, *others = sorted(shapes)
    if shape[0] == 1 and not others:
        cure = "expected three: without ToGray, or with its num_output_channels: 3"
        raise LoadError(source, f"transform: gives one channel, {shape}, {cure}")
    if others or len(shape) != 3 or shape[0] != 3:
        raise LoadError(source, f"transform: gives {shape} and {others}, expected one shape (3, height, width)")
    return shape


def _probe_shape(pipeline: Pipeline, height: int, width: int, source: object) -> tuple[int, ...]:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    try:
        first, *others = (pipeline(pixels) for _ in range(RUNS))
    except Exception as error:  # whatever the transforms raise
        raise LoadError(source, f"transform: fails on an image of {width} x {height}: {one_line(error)}") from None
    if first.dtype != torch.float32:
        cure = CURES.get(first.dtype, "end with ToFloat and ToTensorV2")
        raise LoadError(source, f"transform: gives {first.dtype}, expected float32: {cure}")
    if not all(torch.equal(first, other) for other in others):
        raise LoadError(source, "transform: two runs differ, expected the deterministic validation pipeline")
    return tuple(first.shape)
