"""What scripts/calibrate.py and scripts/evaluate.py hand over to build_archive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.calibration import Calibration, parse_calibration
from handler.errors import LoadError
from handler.files import read_json
from handler.thresholds import parse_thresholds

KEYS = {"thresholds", "calibration", "provenance"}


@dataclass(frozen=True)
class Calibrated:
    thresholds: NDArray[np.float64]  # [C]
    calibration: Calibration
    provenance: dict[str, Any]


def read_calibrated(path: Path, labels: Sequence[str]) -> Calibrated:
    """Raises LoadError, which names the key."""
    content = read_json(path, "what scripts/calibrate.py wrote")
    if not isinstance(content, Mapping) or content.keys() != KEYS or not isinstance(content["provenance"], dict):
        raise LoadError(path, f"expected {', '.join(sorted(KEYS))}, as scripts/calibrate.py writes them")
    return Calibrated(
        parse_thresholds(content["thresholds"], labels, f"{path}: thresholds"),
        parse_calibration(content["calibration"], labels, f"{path}: calibration"),
        content["provenance"],
    )


def read_card(path: Path, labels: Sequence[str], thresholds: Sequence[float], weights_sha256: str) -> dict[str, Any]:
    """A model card. Raises LoadError where it speaks of other weights or thresholds than these."""
    card = read_json(path, "what scripts/evaluate.py --card wrote")
    measured = card.get("labels") if isinstance(card, dict) else None
    if not isinstance(measured, Mapping) or not all(isinstance(each, Mapping) for each in measured.values()):
        raise LoadError(path, "expected a model card, as scripts/evaluate.py --card writes it")
    check_weights(card, weights_sha256, path)
    said = {name: each.get("threshold") for name, each in measured.items()}
    of = parse_thresholds(said, labels, f"{path}: threshold")
    if (differs := np.flatnonzero(of != thresholds)).size:
        name, here = labels[differs[0]], thresholds[differs[0]]
        raise LoadError(path, f"{name!r}: measured at the threshold {of[differs[0]]:g}, expected {here:g} as packaged")
    return dict(card)


def check_weights(found: Mapping[str, Any], weights_sha256: str, source: object) -> None:
    """Raises LoadError where what was measured was another network. found: with a `model`, as answers have it."""
    model = found.get("model")
    sha256 = model.get("sha256") if isinstance(model, Mapping) else None
    if sha256 != weights_sha256:
        raise LoadError(source, f"model: sha256: {sha256}, expected that of these weights, {weights_sha256}")
