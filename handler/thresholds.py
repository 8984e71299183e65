"""Scores → labels, in pure NumPy. A label fires when its score is at or above its threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from handler.errors import LoadError
from handler.files import read_json

THRESHOLDS_FILE = "thresholds.json"
EXPECTED = "a number above 0 and below 1"
EXPECTED_FILE = f"{EXPECTED}, or a mapping of each label to one"


@dataclass(frozen=True)
class Decision:
    """The labels of one image, as indices, best first, and whether no score reached its threshold."""

    labels: tuple[int, ...]
    fallback: bool


def decide(scores: NDArray[Any], thresholds: NDArray[Any], fallback: Literal["none", "best_label"]) -> Decision:
    """scores and thresholds are [C]; `fallback` says whether an image without labels gets its best one."""
    order = rank(scores, len(scores))
    fired = tuple(index for index in order if scores[index] >= thresholds[index])
    if fired or fallback == "none":
        return Decision(fired, not fired)
    return Decision((order[0],), True)


def rank(scores: NDArray[Any], k: int) -> tuple[int, ...]:
    """Indices of the k best of the scores [C], best first; of equal scores, the lower index first."""
    return tuple(int(index) for index in np.argsort(-scores, kind="stable")[:k])


def is_threshold(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1


def read_thresholds(directory: Path, labels: Sequence[str]) -> NDArray[np.float64]:
    """Reads thresholds.json: one number, or {label: number} with every label. Returns [C] float64."""
    path = directory / THRESHOLDS_FILE
    return parse_thresholds(read_json(path, EXPECTED_FILE), labels, path)


def parse_thresholds(value: object, labels: Sequence[str], source: object) -> NDArray[np.float64]:
    """One number for all labels, one number each in the labels' order, or {label: number} → [C] float64."""
    if is_threshold(value):
        return np.full(len(labels), value, dtype=np.float64)
    if isinstance(value, list):
        if len(value) != len(labels):
            raise LoadError(source, f"{len(value)} thresholds, expected {len(labels)}, one a label")
        value = dict(zip(labels, value, strict=True))
    if not isinstance(value, Mapping):
        raise LoadError(source, f"{value!r}, expected {EXPECTED_FILE}")
    known = set(labels)
    for name in value:
        if name not in known:
            raise LoadError(source, f"{name!r}: unknown label, expected one of the model's labels")
    for name in labels:
        if name not in value:
            raise LoadError(source, f"{name!r}: missing, expected {EXPECTED}")
        if not is_threshold(value[name]):
            raise LoadError(source, f"{name!r}: {value[name]!r}, expected {EXPECTED}")
    return np.array([value[name] for name in labels], dtype=np.float64)
