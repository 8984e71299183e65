"""Reads what to build an archive from: a YAML file, flags, or both. A flag wins over the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from handler.errors import LoadError
from handler.files import read_yaml
from scripts.archive.facts import TRANSFORM, TRANSFORMS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # valid for torch-model-archiver and in a URL path

# By their names under `preprocessing`: the evaluation transform of timm, and torchvision's Resize(256) and
# CenterCrop(224), or in that proportion (torchvision.transforms._presets.ImageClassification).
PRESETS: Mapping[str, dict[str, Any]] = {
    "timm": {},
    "torchvision": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
    },
}
PATHS = ("checkpoint", "labels", "thresholds", "calibration", "card", "preprocessing")


@dataclass(frozen=True)
class Recipe:
    """Paths in a YAML file are relative to it, those in flags to the working directory."""

    checkpoint: Path
    name: str
    version: str = "1.0"
    architecture: str | None = None  # default: the checkpoint's
    labels: Path | list[str] | dict[Any, Any] | None = None  # default: the checkpoint's
    thresholds: Path | float | list[float] | dict[str, float] | None = None  # default: the checkpoint's, or 0.5
    calibration: Path | None = None  # written by scripts/calibrate.py; it has thresholds, too
    card: Path | None = None  # written by scripts/evaluate.py
    preprocessing: Path | dict[str, Any] | None = None  # default: timm's for the architecture, by the three below
    pipeline: str | None = None  # the same as package.module:name, which the build imports
    resize: str = "pillow"  # of timm's transform: area to shrink by area averaging
    transform: dict[str, Any] = field(default_factory=dict)  # arguments of timm's transform; default: the checkpoint's
    golden: list[Path] = field(default_factory=list)  # default: a gradient and noise
    state_dict_key: str | None = None  # the checkpoint's entry with the weights
    licence: str | None = None
    notes: str | None = None
    handler: dict[str, Any] = field(default_factory=dict)  # keys of handler.settings.Settings, without architecture
    torchserve: dict[str, Any] = field(default_factory=dict)  # keys of handler.server_settings.ServerSettings


KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "checkpoint": ((str,), "a path"),
    "name": ((str,), "a string"),
    "version": ((str,), "a string: put it in quotes"),
    "architecture": ((str,), "a string"),
    "labels": ((str, list, dict), "a path, a list of names, or a mapping of index to name"),
    "thresholds": ((str, int, float, list, dict), "a path, a number, a list, or a mapping of label to number"),
    "calibration": ((str,), "a path"),
    "card": ((str,), "a path"),
    "preprocessing": ((str, dict), "a path, 'timm', 'torchvision', or a serialized albumentations pipeline"),
    "pipeline": ((str,), "package.module:name"),
    "resize": ((str,), "pillow or area"),
    "transform": ((dict,), f"a mapping with some of {', '.join(TRANSFORM)}"),
    "golden": ((list,), "a list of paths"),
    "state_dict_key": ((str,), "a string"),
    "licence": ((str,), "a string"),
    "notes": ((str,), "a string"),
    "handler": ((dict,), "a mapping"),
    "torchserve": ((dict,), "a mapping"),
}


def read_recipe(path: Path | None, flags: Mapping[str, Any]) -> Recipe:
    """Raises LoadError on an unknown or missing key, or a value of the wrong kind."""
    given: dict[str, Any] = {}
    if path is not None:
        content = read_yaml(path, "a recipe")
        if not isinstance(content, Mapping):
            raise LoadError(path, "expected a mapping of recipe keys")
        given = _check(content, path, path.parent)
    given |= _check({key: value for key, value in flags.items() if value is not None}, "flags", Path())
    source = path or "flags"
    for key in ("checkpoint", "name"):
        if key not in given:
            raise LoadError(source, f"{key}: missing, expected {KINDS[key][1]}")
    for key in ("name", "version"):
        if key in given:
            check_name(key, given[key], source)
    return Recipe(**given)


def check_name(key: str, name: str, source: object) -> None:
    """Raises LoadError if a model's name or version can't stand in an archive and in a URL."""
    if not NAME.fullmatch(name):
        raise LoadError(source, f"{key}: {name!r}, expected letters, digits, '.', '_' and '-'")


def _check(values: Mapping[Any, Any], source: object, base: Path) -> dict[str, Any]:
    known = [key.name for key in fields(Recipe)]
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise LoadError(source, f"{key}: unknown key, expected one of {', '.join(known)}")
        kinds, expected = KINDS[key]
        if not isinstance(value, kinds) or (key == "golden" and not _are_strings(value)):
            raise LoadError(source, f"{key}: {value!r}, expected {expected}")
        checked[key] = _resolve(key, value, base)
    named = checked.get("preprocessing")
    if isinstance(named, str):  # a file is a path by now
        checked["preprocessing"] = None
        checked["transform"] = {**PRESETS[named], **checked.get("transform", {})}
    for key, value in checked.get("transform", {}).items():
        if key not in TRANSFORM or not TRANSFORMS[key](value):
            raise LoadError(source, f"transform: {key}: {value!r}, expected {KINDS['transform'][1]}, as timm has them")
    if checked.get("resize", "area") not in ("pillow", "area"):
        raise LoadError(source, f"resize: {checked['resize']!r}, expected pillow or area")
    return checked


def _are_strings(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _resolve(key: str, value: Any, base: Path) -> Any:
    if key == "golden":
        return [base / path for path in value]
    if key in PATHS and isinstance(value, str) and value not in PRESETS:
        return base / value
    return value
