"""What a request may ask for beside its images: threshold, top_k, all_scores.

Each can come as a form field, a JSON key or a header; a field wins over a header.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import BadOption
from handler.settings import Settings
from handler.thresholds import EXPECTED, is_threshold

HEADERS = {"threshold": "x-threshold", "top_k": "x-top-k", "all_scores": "x-all-scores"}
NAMES = tuple(HEADERS)


@dataclass(frozen=True)
class Options:
    thresholds: NDArray[np.float64]  # [C]
    top_k: int
    all_scores: bool


def parse_options(
    fields: Mapping[str, object],
    headers: Mapping[str, str],
    labels: Sequence[str],
    thresholds: NDArray[np.float64],
    settings: Settings,
) -> Options:
    """headers have lower-case names. Raises BadOption."""
    for name in fields:
        if name not in NAMES:
            raise BadOption(f"{_quote(name)} is no option. Options are {', '.join(NAMES)}.")
    asked = {name: headers[header] for name, header in HEADERS.items() if header in headers} | dict(fields)
    values = {name: _value(name, value) for name, value in asked.items()}
    return Options(
        thresholds=_thresholds(values["threshold"], labels, thresholds) if "threshold" in values else thresholds,
        top_k=_top_k(values.get("top_k", min(settings.top_k, len(labels))), len(labels)),
        all_scores=_flag(values.get("all_scores", False)),
    )


def _value(name: str, value: object) -> object:
    """Text, from a form or a header, holds JSON: 0.5, {"lynx": 0.3}, true."""
    if isinstance(value, bytes | bytearray | str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise BadOption(f"{name}: not valid JSON.") from None
    return value


def _thresholds(value: object, labels: Sequence[str], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    if is_threshold(value):
        return np.full_like(thresholds, value)
    if not isinstance(value, dict):
        raise BadOption(f"threshold: expected {EXPECTED}, or an object of labels with such numbers.")
    changed = thresholds.copy()
    for name, number in value.items():
        if name not in labels:
            raise BadOption(f"threshold: {_quote(name)} is no label of this model.")
        if not is_threshold(number):
            raise BadOption(f"threshold: of {_quote(name)}: expected {EXPECTED}.")
        changed[labels.index(name)] = number
    return changed


def _top_k(value: Any, classes: int) -> int:
    if type(value) is not int or not 0 <= value <= classes:
        raise BadOption(f"top_k: expected an integer from 0 to {classes}.")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadOption("all_scores: expected true or false.")
    return value


def _quote(text: str) -> str:
    """Client text for a message: quoted, escaped and short."""
    return json.dumps(text if len(text) <= 40 else text[:40] + "…")
