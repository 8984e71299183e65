"""Calibration, so that a score is a probability: for each label, logit → scale · logit + shift, before the sigmoid.

Source: Platt, Probabilistic outputs for support vector machines, 1999. With one scale for all labels and no shift it is
temperature scaling: Guo et al., On calibration of modern neural networks, 2017. scripts/calibrate.py fits both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handler.errors import LoadError
from handler.files import read_json

CALIBRATION_FILE = "calibration.json"
EXPECTED = "{label: {scale: a number above 0, shift: a number}} with every label"


@dataclass(frozen=True)
class Calibration:
    scale: NDArray[np.float64]  # [C], above 0: it never changes the order of a label's scores
    shift: NDArray[np.float64]  # [C]

    @classmethod
    def none(cls, classes: int) -> "Calibration":
        return cls(np.ones(classes), np.zeros(classes))

    @property
    def changes(self) -> bool:
        return bool((self.scale != 1).any() or (self.shift != 0).any())

    def after(self, first: "Calibration") -> "Calibration":
        """Both in one: `first`, then this one."""
        return Calibration(self.scale * first.scale, self.scale * first.shift + self.shift)

    @property
    def inverse(self) -> "Calibration":
        return Calibration(1 / self.scale, -self.shift / self.scale)

    def to_dict(self, labels: Sequence[str]) -> dict[str, dict[str, float]]:
        pairs = zip(self.scale.tolist(), self.shift.tolist(), strict=True)
        return {name: {"scale": scale, "shift": shift} for name, (scale, shift) in zip(labels, pairs, strict=True)}


def read_calibration(directory: Path, labels: Sequence[str]) -> Calibration:
    """Reads calibration.json; an archive without one is not calibrated."""
    path = directory / CALIBRATION_FILE
    return (
        parse_calibration(read_json(path, EXPECTED), labels, path) if path.exists() else Calibration.none(len(labels))
    )


def parse_calibration(value: object, labels: Sequence[str], source: object) -> Calibration:
    """Raises LoadError, which names the label."""
    if not isinstance(value, Mapping):
        raise LoadError(source, f"expected {EXPECTED}")
    known = set(labels)
    for name in value:
        if name not in known:
            raise LoadError(source, f"{name!r}: unknown label, expected one of the model's labels")
    pairs = []
    for name in labels:
        pair = value.get(name)
        if not isinstance(pair, Mapping) or pair.keys() != {"scale", "shift"}:
            raise LoadError(source, f"{name!r}: {pair!r}, expected a scale and a shift")
        if not all(type(number) in (int, float) and math.isfinite(number) for number in pair.values()):
            raise LoadError(source, f"{name!r}: {dict(pair)!r}, expected numbers")
        if not pair["scale"] > 0:
            raise LoadError(source, f"{name!r}: scale: {pair['scale']!r}, expected a number above 0")
        pairs.append((pair["scale"], pair["shift"]))
    scale, shift = np.array(pairs, dtype=np.float64).T
    return Calibration(scale, shift)
