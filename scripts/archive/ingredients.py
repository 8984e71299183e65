"""Gathers what an archive is made of, and checks that the parts fit each other, before anything is written.

The recipe wins over the checkpoint, and the checkpoint over the defaults.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from handler.errors import LoadError, one_line
from handler.files import read_yaml
from handler.network import create_network, load_weights
from handler.preprocess import make_pipeline, probe
from handler.sections import read_section
from handler.server_settings import ServerSettings
from handler.settings import Settings
from handler.thresholds import parse_thresholds
from scripts.archive.checkpoint import Checkpoint, read_checkpoint
from scripts.archive.facts import architecture_name
from scripts.archive.heads import find_head
from scripts.archive.labels import parse_labels, read_labels_file
from scripts.archive.measured import Calibrated, read_calibrated
from scripts.archive.recipe import Recipe
from scripts.archive.reference import read_reference
from scripts.archive.sources import (
    parse_image_size,
    pipeline_from_timm,
    read_thresholds_file,
)
from scripts.archive.weights import Weights, find_weights, listed

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Ingredients:
    settings: Settings
    server: ServerSettings
    labels: tuple[str, ...]
    thresholds: list[float]  # in the labels' order
    calibrated: Calibrated | None
    network: torch.nn.Module  # with the checkpoint's weights
    preprocessing: dict[str, Any]  # a serialized albumentations pipeline
    notes: tuple[tuple[str, str], ...]  # what was taken from where, for the person who builds
    averaging_side: int | None  # pixels that the pipeline's first resize needs, if it shrinks by means


def gather(recipe: Recipe) -> Ingredients:
    """Raises LoadError if something is missing, wrong, or does not fit the rest."""
    checkpoint = read_checkpoint(recipe.checkpoint)
    settings, server = _settings(recipe, checkpoint)
    labels, labels_source = _labels(recipe, checkpoint)
    model_source = "recipe" if recipe.architecture else f"{recipe.checkpoint}"
    fitted = fit(checkpoint, settings, labels, recipe.state_dict_key, recipe.checkpoint, labels_source, model_source)
    settings, network = replace(settings, model_kwargs=fitted.model_kwargs), fitted.network
    calibrated = read_calibrated(recipe.calibration, labels) if recipe.calibration else None
    thresholds = _thresholds(recipe, checkpoint, labels, calibrated)
    preprocessing, preprocessing_source = _preprocessing(recipe, checkpoint, network, settings)
    pipeline = make_pipeline(preprocessing, preprocessing_source)
    _check_forward(network, probe(pipeline, preprocessing_source), len(labels), preprocessing_source)
    side = pipeline.resize.shortest_side if pipeline.resize is not None and pipeline.resize.averages else None
    notes = [("taken", str(fitted.weights)), ("transform", _described(recipe, checkpoint, preprocessing_source))]
    notes += [("left out", f"objects of {listed(checkpoint.unread)}")] if checkpoint.unread else []
    return Ingredients(settings, server, labels, thresholds, calibrated, network, preprocessing, tuple(notes), side)


@dataclass(frozen=True)
class Fitted:
    network: torch.nn.Module  # with the checkpoint's weights
    model_kwargs: dict[str, Any]
    weights: Weights


def fit(
    checkpoint: Checkpoint,
    settings: Settings,
    labels: tuple[str, ...],
    key: str | None,
    source: Path,
    labels_source: object,
    model_source: object,
) -> Fitted:
    """The network that the settings and the checkpoint describe, with the weights that fit it. Raises LoadError, which
    names one of the sources."""
    errors = []
    for kwargs in _kwargs(checkpoint, settings, source):
        try:
            network = create_network(settings.architecture, len(labels), kwargs, model_source)
            weights = _weights(checkpoint, network, settings.head, key, source, labels_source)
        except LoadError as error:
            errors.append(error)
            continue
        load_weights(network, weights.tensors, source)
        return Fitted(network, kwargs, weights)
    raise errors[0]


def _weights(
    checkpoint: Checkpoint,
    network: torch.nn.Module,
    head: Sequence[str],
    key: str | None,
    source: Path,
    labels_source: object,
) -> Weights:
    misfit = LoadError(source, f"no head of {list(head)}, expected one as handler.head in the recipe says")
    if not head:
        try:
            return find_weights(checkpoint.entries, network, key, source, labels_source)
        except LoadError as error:
            misfit = error
    weights = find_head(checkpoint.entries, network, key, head, source)
    if weights is None:
        raise misfit
    return weights


def _kwargs(checkpoint: Checkpoint, settings: Settings, source: Path) -> Iterator[dict[str, Any]]:
    """The arguments of timm.create_model to try, the likeliest first: a recipe's win over the checkpoint's."""
    said, given = checkpoint.facts.model_kwargs, settings.model_kwargs
    if (channels := {**said, **given}.get("in_chans", 3)) != 3:
        raise LoadError(source, f"in_chans: {channels}, expected 3: photos are served as RGB")
    yield {**said, **given}
    size = parse_image_size(checkpoint.facts.image_size, f"{source}: image_size")
    if size is not None and "img_size" not in {**said, **given}:
        # A transformer that was made for the size at which it was trained.
        yield {**said, **given, "img_size": size[0] if size[0] == size[1] else list(size)}
    if "global_pool" in said:
        # timm writes it beside architectures that do not take it.
        yield {**{name: value for name, value in said.items() if name != "global_pool"}, **given}
    if "global_pool" not in given:
        # Its last layer is twice as wide as with any other.
        yield {**said, **given, "global_pool": "catavgmax"}


def checkpoint_thresholds(checkpoint: Checkpoint, labels: tuple[str, ...], source: object) -> list[float]:
    """The checkpoint's thresholds, in the labels' order. Raises LoadError."""
    return [float(value) for value in parse_thresholds(checkpoint.facts.thresholds, labels, source)]


def _settings(recipe: Recipe, checkpoint: Checkpoint) -> tuple[Settings, ServerSettings]:
    architecture = recipe.architecture or checkpoint.facts.architecture
    if architecture is None:
        raise LoadError(
            recipe.checkpoint, "architecture: not in the checkpoint, expected it in the recipe or as a flag"
        )
    settings = read_section(
        Settings, {**recipe.handler, "architecture": architecture_name(architecture)}, "recipe", "handler."
    )
    return settings, read_section(ServerSettings, recipe.torchserve, "recipe", "torchserve.")


def _labels(recipe: Recipe, checkpoint: Checkpoint) -> tuple[tuple[str, ...], object]:
    if isinstance(recipe.labels, Path):
        return read_labels_file(recipe.labels), recipe.labels
    given = recipe.labels if recipe.labels is not None else checkpoint.facts.labels
    source: object = "recipe: labels" if recipe.labels is not None else f"{recipe.checkpoint}: labels"
    if given is None:
        raise LoadError(recipe.checkpoint, "labels: not in the checkpoint, expected them in the recipe or as a flag")
    return parse_labels(given, source), source


def _thresholds(
    recipe: Recipe, checkpoint: Checkpoint, labels: tuple[str, ...], calibrated: Calibrated | None
) -> list[float]:
    if calibrated is not None:
        if recipe.thresholds is not None:
            raise LoadError("recipe", "thresholds: beside a calibration, which brings its own, expected one of them")
        return [float(value) for value in calibrated.thresholds]
    if isinstance(recipe.thresholds, Path):
        return [float(value) for value in read_thresholds_file(recipe.thresholds, labels)]
    if recipe.thresholds is None and checkpoint.facts.thresholds is not None:
        return checkpoint_thresholds(checkpoint, labels, f"{recipe.checkpoint}: thresholds")
    given = DEFAULT_THRESHOLD if recipe.thresholds is None else recipe.thresholds
    return [float(value) for value in parse_thresholds(given, labels, "recipe: thresholds")]


def _preprocessing(
    recipe: Recipe, checkpoint: Checkpoint, network: torch.nn.Module, settings: Settings
) -> tuple[dict[str, Any], object]:
    if recipe.pipeline is not None and recipe.preprocessing is not None:
        raise LoadError("recipe", "pipeline: beside preprocessing, expected one of them")
    if _has_pipeline(recipe) and (recipe.transform or recipe.resize != "pillow"):
        raise LoadError("recipe", "resize, transform: of timm's transform, expected none beside a pipeline")
    if recipe.pipeline is not None:
        return read_reference(recipe.pipeline), recipe.pipeline
    if isinstance(recipe.preprocessing, Path):
        return read_yaml(recipe.preprocessing, "a serialized albumentations pipeline"), recipe.preprocessing
    if recipe.preprocessing is not None:
        return recipe.preprocessing, "recipe: preprocessing"
    if "img_size" in settings.model_kwargs:
        size = parse_image_size(settings.model_kwargs["img_size"], "recipe: handler.model_kwargs.img_size")
    else:
        size = parse_image_size(checkpoint.facts.image_size, f"{recipe.checkpoint}: image_size")
    transform = {**checkpoint.facts.transform, **recipe.transform}
    source = f"timm: {settings.architecture}"
    return pipeline_from_timm(network, size, source, transform, recipe.resize), source


def _has_pipeline(recipe: Recipe) -> bool:
    return recipe.pipeline is not None or recipe.preprocessing is not None


def _described(recipe: Recipe, checkpoint: Checkpoint, source: object) -> str:
    if _has_pipeline(recipe):
        return f"the pipeline of {source}"
    where = dict.fromkeys(checkpoint.facts.transform, "the checkpoint") | dict.fromkeys(recipe.transform, "the recipe")
    said = {**checkpoint.facts.transform, **recipe.transform}
    changes = [f"{key} {value} of {where[key]}" for key, value in said.items()]
    rest = "the rest of it" if changes else "all of it"
    how = "by area averaging" if recipe.resize == "area" else "as Pillow does"
    return f"timm's, resized {how}: {', '.join([*changes, rest])} as timm has it for the architecture"


def _check_forward(network: torch.nn.Module, shape: tuple[int, int, int], classes: int, source: object) -> None:
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = one_line(error)
        raise LoadError(source, f"transform: gives {shape}, which the architecture refuses: {reason}") from None
    if logits.shape != (1, classes):
        raise LoadError(source, f"the architecture gives {list(logits.shape)}, expected [1, {classes}] logits")
