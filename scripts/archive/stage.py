"""Writes the directory that an archive is packed from, and proves it by loading it as the server will."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import handler
from handler.calibration import CALIBRATION_FILE
from handler.classifier import Classifier
from handler.contents import METADATA_FILE, PREPROCESSING_FILE, WEIGHTS_FILE, sha256
from handler.errors import ItemError, LoadError, one_line
from handler.files import read_yaml, unreadable
from handler.golden import GOLDEN_DIRECTORY, GOLDEN_FILE
from handler.labels import LABELS_FILE
from handler.model import create_network, load_weights
from handler.preprocess import make_pipeline, probe
from handler.sections import read_section
from handler.server_settings import ServerSettings, write_settings
from handler.settings import CONFIG_FILE, Settings
from handler.thresholds import THRESHOLDS_FILE, parse_thresholds
from scripts.archive.checkpoint import Checkpoint, read_checkpoint
from scripts.archive.measured import check_weights, read_calibrated, read_card
from scripts.archive.recipe import Recipe
from scripts.archive.sources import parse_labels, pipeline_from_timm, read_labels_file, read_thresholds_file

DEFAULT_THRESHOLD = 0.5
# The settings that round nowhere and skip nothing.
PLAIN = {"decode": "exact", "precision": "float32", "engine": "eager"}
LIBRARIES = ("torch", "torchvision", "timm", "albumentations", "opencv-python-headless", "pillow", "numpy")


def write_stage(recipe: Recipe, directory: Path) -> Classifier:
    """Fills an empty directory with all that the archive holds, and returns it loaded. Raises LoadError."""
    checkpoint = read_checkpoint(recipe.checkpoint, recipe.state_dict_key)
    architecture = recipe.architecture or checkpoint.architecture
    if architecture is None:
        raise LoadError(
            recipe.checkpoint, "architecture: not in the checkpoint, expected it in the recipe or as a flag"
        )
    settings = read_section(Settings, {**recipe.handler, "architecture": architecture}, "recipe", "handler.")
    server = read_section(ServerSettings, recipe.torchserve, "recipe", "torchserve.")
    labels, labels_source = _labels(recipe, checkpoint)
    network = create_network(architecture, len(labels), settings.model_kwargs, "recipe")
    check_label_count(network, checkpoint, labels, labels_source)
    measured = read_calibrated(recipe.calibration, labels) if recipe.calibration else None
    if measured is not None and recipe.thresholds is not None:
        raise LoadError("recipe", "thresholds: beside a calibration, which brings its own, expected one of them")
    thresholds = _thresholds(recipe, checkpoint, labels) if measured is None else measured.thresholds.tolist()
    load_weights(network, checkpoint.tensors, recipe.checkpoint)
    preprocessing, preprocessing_source = _preprocessing(recipe, checkpoint, network, settings)
    pipeline = make_pipeline(preprocessing, preprocessing_source)
    input_shape = probe(pipeline, preprocessing_source)
    # docs/performance.md: a pipeline that averages hardly sees it.
    suggested = "decode" not in recipe.handler and pipeline.resize is not None and pipeline.resize.averages
    if suggested:
        settings = replace(settings, decode="scaled")
    _check_forward(network, input_shape, len(labels), preprocessing_source)

    write_settings(directory / CONFIG_FILE, settings, server)
    tensors = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(tensors, directory / WEIGHTS_FILE)
    _write_json(directory / LABELS_FILE, {str(index): name for index, name in enumerate(labels)})
    _write_json(directory / THRESHOLDS_FILE, dict(zip(labels, thresholds, strict=True)))
    _write_json(directory / PREPROCESSING_FILE, preprocessing)
    metadata = _metadata(recipe, architecture, labels, directory)
    if measured is not None:
        check_weights(measured.provenance, metadata["weights_sha256"], recipe.calibration)
        _write_json(directory / CALIBRATION_FILE, measured.calibration.to_dict(labels))
        metadata["calibration"] = measured.provenance
    if recipe.card is not None:
        metadata["card"] = read_card(recipe.card, labels, thresholds, metadata["weights_sha256"])
    _write_json(directory / METADATA_FILE, metadata)
    shutil.copytree(
        Path(handler.__file__).parent, directory / "handler", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    _write_golden(recipe, directory)
    try:
        return _loaded(directory)
    except LoadError:
        if not suggested:
            raise
        # These golden photos do see it.
        write_settings(directory / CONFIG_FILE, replace(settings, decode="exact"), server)
        return _loaded(directory)


def _labels(recipe: Recipe, checkpoint: Checkpoint) -> tuple[tuple[str, ...], object]:
    if isinstance(recipe.labels, Path):
        return read_labels_file(recipe.labels), recipe.labels
    given = recipe.labels if recipe.labels is not None else checkpoint.labels
    source: object = "recipe: labels" if recipe.labels is not None else f"{recipe.checkpoint}: labels"
    if given is None:
        raise LoadError(recipe.checkpoint, "labels: not in the checkpoint, expected them in the recipe or as a flag")
    return parse_labels(given, source), source


def _thresholds(recipe: Recipe, checkpoint: Checkpoint, labels: tuple[str, ...]) -> list[float]:
    if isinstance(recipe.thresholds, Path):
        return [float(value) for value in read_thresholds_file(recipe.thresholds, labels)]
    if recipe.thresholds is None and checkpoint.thresholds is not None:
        return checkpoint_thresholds(checkpoint, labels, f"{recipe.checkpoint}: thresholds")
    given = DEFAULT_THRESHOLD if recipe.thresholds is None else recipe.thresholds
    return [float(value) for value in parse_thresholds(given, labels, "recipe: thresholds")]


def checkpoint_thresholds(checkpoint: Checkpoint, labels: tuple[str, ...], source: object) -> list[float]:
    """What the checkpoint says, in the labels' order. Raises LoadError."""
    given = checkpoint.thresholds
    given = list(given) if isinstance(given, tuple) else given
    return [float(value) for value in parse_thresholds(given, labels, source)]


def _preprocessing(
    recipe: Recipe, checkpoint: Checkpoint, network: torch.nn.Module, settings: Settings
) -> tuple[dict[str, Any], object]:
    if isinstance(recipe.preprocessing, Path):
        return read_yaml(recipe.preprocessing, "a serialized albumentations pipeline"), recipe.preprocessing
    if recipe.preprocessing is not None:
        return recipe.preprocessing, "recipe: preprocessing"
    size = settings.model_kwargs.get("img_size", checkpoint.image_size)
    return pipeline_from_timm(network, size, "recipe"), f"timm: {settings.architecture}"


def check_label_count(
    network: torch.nn.Module, checkpoint: Checkpoint, labels: tuple[str, ...], source: object
) -> None:
    """A wrong label count shows as a wrong shape of the classifier; this says it in the user's terms."""
    names = getattr(network, "pretrained_cfg", {}).get("classifier")
    for name in [names] if isinstance(names, str) else names or []:
        weight = checkpoint.tensors.get(f"{name}.weight")
        if weight is not None and weight.shape[0] != len(labels):
            raise LoadError(source, f"{len(labels)} labels, expected {weight.shape[0]}: the rows of {name}.weight")


def _check_forward(network: torch.nn.Module, shape: tuple[int, int, int], classes: int, source: object) -> None:
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = one_line(error)
        raise LoadError(source, f"transform: gives {shape}, which the architecture refuses: {reason}") from None
    if logits.shape != (1, classes):
        raise LoadError(source, f"the architecture gives {list(logits.shape)}, expected [1, {classes}] logits")


def _metadata(recipe: Recipe, architecture: str, labels: tuple[str, ...], directory: Path) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "version": recipe.version,
        "architecture": architecture,
        "labels": labels,
        "weights_sha256": sha256(directory / WEIGHTS_FILE),
        "licence": recipe.licence,
        "notes": recipe.notes,
        "built_with": {library: version(library) for library in LIBRARIES},
    }


def _loaded(directory: Path) -> Classifier:
    """As the server loads it, golden self-check and all."""
    classifier = Classifier.load(directory, torch.device("cpu"))
    classifier.self_check(directory)
    return classifier


def _write_golden(recipe: Recipe, directory: Path) -> None:
    """Scores the golden inputs plainly: what serves is held to that.

    Four decimals: what other processors agree on.
    """
    images = {path.name: _read(path) for path in recipe.golden} if recipe.golden else _patterns()
    if recipe.golden and len(images) != len(recipe.golden):
        raise LoadError("recipe", "golden: two files of one name, expected distinct names")
    plain = Classifier.load(directory, torch.device("cpu"), **PLAIN)
    expected = {}
    (directory / GOLDEN_DIRECTORY).mkdir()
    for (name, image), scores in zip(images.items(), plain.classify(list(images.values())), strict=True):
        if isinstance(scores, ItemError):
            raise LoadError(name, f"golden: {scores.code}: {scores}")
        (directory / GOLDEN_DIRECTORY / name).write_bytes(image)
        expected[name] = [round(float(score), 4) for score in scores]
    _write_json(directory / GOLDEN_FILE, expected)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, "a golden image") from None


def _patterns() -> dict[str, bytes]:
    """Two images for a model that came without: a colour gradient and noise, [120, 160, 3]. BMP is the same bytes with
    every version of every codec."""
    y, x = np.mgrid[0:120, 0:160]
    gradient = np.stack([x * 255 // 159, y * 255 // 119, 255 - x * 255 // 159], axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3))
    encoded = {}
    for name, pixels in {"gradient.bmp": gradient, "noise.bmp": noise}.items():
        buffer = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "BMP")
        encoded[name] = buffer.getvalue()
    return encoded


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
