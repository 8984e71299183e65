"""Labels, thresholds and preprocessing, in the forms that people have them."""

import csv
import math
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
from handler.files import read_json, read_text, read_yaml
from handler.labels import check_labels, labels_from_index
from handler.thresholds import EXPECTED_FILE, parse_thresholds

INTERPOLATIONS = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


def parse_labels(given: Any, source: object) -> tuple[str, ...]:
    """A list of names, {index: name}, or {name: index} as torchvision's class_to_idx has it."""
    if isinstance(given, dict):
        if all(type(value) is int for value in given.values()):
            given = {str(index): name for name, index in given.items()}
        return labels_from_index(given, source)
    if not isinstance(given, list | tuple):
        raise LoadError(source, "expected a list of names or a mapping of index to name")
    return check_labels(given, source)


def read_labels_file(path: Path) -> tuple[str, ...]:
    """.txt: a name a line. .json: a list or a mapping. .csv: a column `name` or `label`, and perhaps `index`."""
    if path.suffix == ".json":
        return parse_labels(read_json(path, "labels"), path)
    text = read_text(path, "labels as .txt, .json or .csv")
    if path.suffix == ".txt":
        return check_labels([line.strip() for line in text.rstrip().splitlines()], path)
    if path.suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        column = next((name for name in ("name", "label") if rows and name in rows[0]), None)
        if column is None:
            raise LoadError(path, "expected a header with a column 'name' or 'label'")
        if "index" in rows[0]:
            return labels_from_index({row["index"].strip(): row[column] for row in rows}, path)
        return check_labels([row[column] for row in rows], path)
    raise LoadError(path, f"{path.suffix or 'no suffix'}, expected labels as .txt, .json or .csv")


def read_thresholds_file(path: Path, labels: tuple[str, ...]) -> NDArray[np.float64]:
    """A JSON or YAML file with one number, a list in the labels' order, or a mapping by label."""
    return parse_thresholds(read_yaml(path, EXPECTED_FILE), labels, path)


def pipeline_from_timm(network: torch.nn.Module, image_size: int | None, source: object) -> dict[str, Any]:
    """timm's own evaluation transform for this network, in albumentations' terms and serialized.

    Photos are shrunk by area averaging whatever timm names: OpenCV's other interpolations don't smooth before they
    skip pixels, as Pillow's do. The named one enlarges.
    """
    asked = {"img_size": image_size} if image_size else {}
    config = resolve_data_config(asked, model=network)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    interpolation = INTERPOLATIONS.get(config["interpolation"])
    mode = config["crop_mode"]
    if interpolation is None or mode not in ("center", "squash") or (mode == "center" and height != width):
        raise LoadError(
            source,
            f"preprocessing: timm's {config['interpolation']}, {mode}, {height} x {width} has no counterpart here; "
            "expected an albumentations pipeline",
        )
    resized = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    shared = {"interpolation": interpolation, "area_for_downscale": "image"}
    resize = A.SmallestMaxSize(resized[0], **shared) if mode == "center" else A.Resize(*resized, **shared)
    steps = [resize, A.CenterCrop(height, width), A.Normalize(config["mean"], config["std"]), ToTensorV2()]
    return A.to_dict(A.Compose(steps))  # type: ignore[no-any-return]
