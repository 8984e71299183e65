"""Reads the calibration of scripts/calibrate.py and the model card of scripts/evaluate.py."""

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
    """A model card. Raises LoadError if it was measured with other weights or thresholds."""
    card = read_json(path, "what scripts/evaluate.py --card wrote")
    measured = card.get("labels") if isinstance(card, dict) else None
    if not isinstance(measured, Mapping) or not all(isinstance(figures, Mapping) for figures in measured.values()):
        raise LoadError(path, "expected a model card, as scripts/evaluate.py --card writes it")
    check_weights(card, weights_sha256, path)
    given = {name: figures.get("threshold") for name, figures in measured.items()}
    measured_at = parse_thresholds(given, labels, f"{path}: threshold")
    if (differing := np.flatnonzero(measured_at != thresholds)).size:
        index = differing[0]
        raise LoadError(
            path,
            f"{labels[index]!r}: measured at the threshold {measured_at[index]:g}, "
            f"expected {thresholds[index]:g} as packaged",
        )
    return dict(card)


def check_weights(measured: Mapping[str, Any], weights_sha256: str, source: object) -> None:
    """Raises LoadError if other weights were measured. measured: has a `model`, as an answer of the server does."""
    model = measured.get("model")
    sha256 = model.get("sha256") if isinstance(model, Mapping) else None
    if sha256 != weights_sha256:
        raise LoadError(source, f"model: sha256: {sha256}, expected that of these weights, {weights_sha256}")
