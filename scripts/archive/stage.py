"""Writes the directory that an archive is packed from, and checks it by loading it as the server will."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

import handler
from handler.calibration import CALIBRATION_FILE
from handler.classifier import Classifier
from handler.contents import METADATA_FILE, PREPROCESSING_FILE, PROOFS, WEIGHTS_FILE, sha256
from handler.decode import MARGIN
from handler.errors import ItemError, LoadError, one_line
from handler.files import unreadable
from handler.golden import GOLDEN_DIRECTORY, GOLDEN_FILE
from handler.labels import LABELS_FILE
from handler.server_settings import write_settings
from handler.settings import CONFIG_FILE
from handler.thresholds import THRESHOLDS_FILE
from scripts.archive.conversion import convert_network
from scripts.archive.ingredients import Ingredients, gather
from scripts.archive.measured import check_weights, read_card
from scripts.archive.recipe import Recipe

# The settings without any optimisation: the whole JPEG, full precision, and the network as Python runs it.
PLAIN = {"decode": "exact", "precision": "float32", "engine": "eager"}
LIBRARIES = ("torch", "torchvision", "timm", "openvino", "albumentations", "opencv-python-headless", "pillow", "numpy")


@dataclass(frozen=True)
class Stage:
    classifier: Classifier  # as it loads from the directory
    unconverted: str | None  # why the network could not be converted


def write_stage(recipe: Recipe, directory: Path, ingredients: Ingredients | None = None) -> Stage:
    """Fills an empty directory with the archive's files, and loads from it. Raises LoadError."""
    ingredients = ingredients or gather(recipe)
    # Where each pixel is a mean of many it hardly shows whether the JPEG was decoded smaller: docs/performance.md. The
    # golden photos have to prove it, so one of them must be decoded smaller.
    scaled = "decode" not in recipe.handler and ingredients.averaging_side is not None
    scaled = scaled and any(is_scaled(path, ingredients.averaging_side) for path in recipe.golden)
    settings = replace(ingredients.settings, decode="scaled") if scaled else ingredients.settings
    write_settings(directory / CONFIG_FILE, settings, ingredients.server)
    _write_model(ingredients, directory)
    write_json(directory / METADATA_FILE, _metadata(recipe, ingredients, directory))
    write_package(directory)
    plain = Classifier.load(directory, torch.device("cpu"), **PLAIN)
    _write_golden(recipe, directory, plain)
    converts = ingredients.settings.engine in ("auto", "openvino")
    unconverted = convert_network(directory, plain) if converts else None
    try:
        return Stage(_load(directory), unconverted)
    except LoadError:
        if not scaled:
            raise
        # On these golden photos it does show.
        write_settings(directory / CONFIG_FILE, ingredients.settings, ingredients.server)
        return Stage(_load(directory), unconverted)
    finally:
        # What a try on this machine showed.
        shutil.rmtree(directory / PROOFS, ignore_errors=True)


def write_package(directory: Path) -> None:
    """Copies the package handler/, in place of one that is there."""
    target = directory / "handler"
    shutil.rmtree(target, ignore_errors=True)
    package = Path(handler.__file__).parent
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_model(ingredients: Ingredients, directory: Path) -> None:
    """Weights, labels, thresholds, calibration and preprocessing."""
    labels = ingredients.labels
    tensors = {name: tensor.contiguous().clone() for name, tensor in ingredients.network.state_dict().items()}
    try:
        save_file(tensors, directory / WEIGHTS_FILE)
    except SafetensorError as error:  # a full disk
        raise LoadError(directory / WEIGHTS_FILE, f"can't be written: {one_line(error)}") from None
    write_json(directory / LABELS_FILE, {str(index): name for index, name in enumerate(labels)})
    write_json(directory / THRESHOLDS_FILE, dict(zip(labels, ingredients.thresholds, strict=True)))
    write_json(directory / PREPROCESSING_FILE, ingredients.preprocessing)
    if ingredients.calibrated is not None:
        write_json(directory / CALIBRATION_FILE, ingredients.calibrated.calibration.to_dict(labels))


def _metadata(recipe: Recipe, ingredients: Ingredients, directory: Path) -> dict[str, Any]:
    """What the archive says of itself. Raises LoadError if the calibration or the card is of other weights."""
    digest = sha256(directory / WEIGHTS_FILE)
    metadata: dict[str, Any] = {
        "name": recipe.name,
        "version": recipe.version,
        "architecture": ingredients.settings.architecture,
        "labels": ingredients.labels,
        "weights_sha256": digest,
        "licence": recipe.licence,
        "notes": recipe.notes,
        "built_with": {library: version(library) for library in LIBRARIES},
    }
    if ingredients.calibrated is not None:
        check_weights(ingredients.calibrated.provenance, digest, recipe.calibration)
        metadata["calibration"] = ingredients.calibrated.provenance
    if recipe.card is not None:
        metadata["card"] = read_card(recipe.card, ingredients.labels, ingredients.thresholds, digest)
    return metadata


def _load(directory: Path) -> Classifier:
    """As the server does, with the golden self-check."""
    classifier = Classifier.load(directory, torch.device("cpu"))
    classifier.self_check(directory)
    return classifier


def _write_golden(recipe: Recipe, directory: Path, plain: Classifier) -> None:
    """Scores the golden inputs without optimisations, as the reference for every worker.

    The scores are rounded to four decimals: processors differ beyond that.
    """
    images = {path.name: _read(path) for path in recipe.golden} or _patterns()
    if recipe.golden and len(images) != len(recipe.golden):
        raise LoadError("recipe", "golden: two files have the same name, expected distinct names")
    expected = {}
    (directory / GOLDEN_DIRECTORY).mkdir()
    for (name, image), scores in zip(images.items(), plain.classify(list(images.values())), strict=True):
        if isinstance(scores, ItemError):
            raise LoadError(name, f"golden: {scores.code}: {scores}")
        (directory / GOLDEN_DIRECTORY / name).write_bytes(image)
        expected[name] = [round(float(score), 4) for score in scores]
    write_json(directory / GOLDEN_FILE, expected)


def is_scaled(path: Path, shortest_side: int | None) -> bool:
    """Whether scaled decoding makes this file smaller."""
    try:
        with Image.open(path) as image:
            before, side = image.size, math.ceil(MARGIN * (shortest_side or 0))
            image.draft(None, (side, side))
            return image.size != before
    except Exception:  # decoding it says what is wrong with it
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, "a golden image") from None


def _patterns() -> dict[str, bytes]:
    """A colour gradient and noise, [120, 160, 3], for a recipe without golden photos. As BMP, because no version of any
    codec changes its bytes."""
    y, x = np.mgrid[0:120, 0:160]
    gradient = np.stack([x * 255 // 159, y * 255 // 119, 255 - x * 255 // 159], axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3))
    encoded = {}
    for name, pixels in {"gradient.bmp": gradient, "noise.bmp": noise}.items():
        buffer = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "BMP")
        encoded[name] = buffer.getvalue()
    return encoded
