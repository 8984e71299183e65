"""Reads thresholds, image sizes and preprocessing in the forms that people have them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import handler.preprocess  # noqa: F401  (first: it keeps albumentations from asking the network at import)

# isort: split
import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from timm.data.config import resolve_data_config

from handler.errors import LoadError
from handler.files import read_json, read_yaml
from handler.pillow import INTERPOLATION_NAMES, CropOrPad, PillowResize
from handler.thresholds import EXPECTED_FILE, parse_thresholds

CHANNELS = 3
INTERPOLATIONS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


def read_thresholds_file(path: Path, labels: tuple[str, ...]) -> NDArray[np.float64]:
    """A JSON or YAML file with one number, a list in the labels' order, or a mapping by label."""
    # YAML reads the 1e-05 of a JSON file as text.
    read = read_json if path.suffix == ".json" else read_yaml
    return parse_thresholds(read(path, EXPECTED_FILE), labels, path)


def parse_image_size(given: Any, source: object) -> tuple[int, int] | None:
    """Height and width in pixels, or None where nothing is given.

    given: a side, [side], [height, width], or [3, height, width] as timm's input_size has it. Raises LoadError.
    """
    if given is None:
        return None
    sides = [_pixels(side) for side in (given if isinstance(given, list | tuple) else [given])]
    if len(sides) == 3 and CHANNELS in (sides[0], sides[-1]):
        sides = sides[1:] if sides[0] == CHANNELS else sides[:-1]
    height, width = (sides[0], sides[-1]) if len(sides) in (1, 2) else (None, None)
    if height is None or width is None:
        expected = "pixels: SIDE, [HEIGHT, WIDTH] or [3, HEIGHT, WIDTH]; or give --preprocessing"
        raise LoadError(source, f"{given!r}, expected {expected}")
    return height, width


def _pixels(side: Any) -> int | None:
    if isinstance(side, str) and side.isdecimal():
        side = int(side)
    whole = isinstance(side, int | float) and not isinstance(side, bool) and side == side // 1 and side > 0
    return int(side) if whole else None


def pipeline_from_timm(
    network: torch.nn.Module,
    image_size: tuple[int, int] | None,
    source: object,
    transform: Mapping[str, Any] | None = None,
    resize: str = "pillow",
) -> dict[str, Any]:
    """timm's evaluation transform for this network, as a serialized albumentations pipeline.

    image_size: height and width in pixels; None for the architecture's own. transform: arguments of timm's transform
    that differ from the architecture's: mean, std, interpolation, crop_pct, crop_mode. resize: `pillow` for the same
    pixels as timm's (timm.data.transforms_factory.transforms_imagenet_eval); `area` to shrink by area averaging, and to
    enlarge by OpenCV's interpolation of that name. Raises LoadError.
    """
    asked = {**(transform or {}), **({"input_size": (CHANNELS, *image_size)} if image_size else {})}
    config = resolve_data_config(asked, model=network)  # type: ignore[no-untyped-call]
    for name in ("mean", "std"):
        if not all(0 <= number <= 1 for number in config[name]):
            raise LoadError(source, f"{name}: {list(config[name])}, expected numbers from 0 to 1; or --preprocessing")
    steps = (_pillow_steps if resize == "pillow" else _area_steps)(config, source)
    return A.to_dict(A.Compose([*steps, A.Normalize(config["mean"], config["std"]), ToTensorV2()]))  # type: ignore[no-any-return]


def _pillow_steps(config: Mapping[str, Any], source: object) -> list[A.BasicTransform]:
    _, height, width = config["input_size"]
    mode, interpolation = config["crop_mode"], config["interpolation"]
    if interpolation not in INTERPOLATION_NAMES:
        raise LoadError(source, f"interpolation: {interpolation}, expected one of {', '.join(INTERPOLATION_NAMES)}")
    target = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    modes = {"squash": "exact", "border": "fit"}
    how = modes.get(mode, "shorter" if target[0] == target[1] else "cover")
    fill = tuple(round(255 * value) for value in config["mean"]) if mode == "border" else (0, 0, 0)
    return [
        PillowResize(target[0], target[1], mode=how, interpolation=interpolation),
        CropOrPad(height, width, fill=fill),
    ]


def _area_steps(config: Mapping[str, Any], source: object) -> list[A.BasicTransform]:
    """OpenCV's other interpolations skip pixels without smoothing first."""
    _, height, width = config["input_size"]
    interpolation = INTERPOLATIONS.get(config["interpolation"])
    mode = config["crop_mode"]
    if interpolation is None or mode not in ("center", "squash"):
        raise LoadError(
            source,
            f"resize: area, with {config['interpolation']} and {mode} crop has no counterpart; "
            "expected no resize, or an albumentations pipeline",
        )
    target = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    shared = {"interpolation": interpolation, "area_for_downscale": "image"}
    if mode == "squash":
        resize = A.Resize(*target, **shared)
    elif height == width:
        resize = A.SmallestMaxSize(target[0], **shared)
    else:  # the smallest size that covers both sides, with the photo's aspect ratio
        resize = A.SmallestMaxSize(max_size_hw=tuple(target), **shared)
    return [resize, A.CenterCrop(height, width)]
