"""What a request may ask for beside its images: threshold, top_k, all_scores.

An option comes as a form field, a JSON key or a header. A field wins over a header.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import BadOption
from handler.thresholds import EXPECTED, is_threshold

HEADERS = {"threshold": "x-threshold", "top_k": "x-top-k", "all_scores": "x-all-scores"}


@dataclass(frozen=True)
class Options:
    """What one request asks of every stage."""

    thresholds: NDArray[np.float64]  # [C]
    top_k: int  # how many of the best scores are listed
    all_scores: bool  # whether the score of every label is listed


def parse_options(
    fields: Mapping[str, object], headers: Mapping[str, str], indices: Mapping[str, int], defaults: Options
) -> Options:
    """Returns the options of one request. Raises BadOption.

    headers: by their names in lower case. indices: of each label, by its name.
    """
    for name in fields:
        if name not in HEADERS:
            raise BadOption(f"{quoted(name)} is no option. Options are {', '.join(HEADERS)}.")
    given = {name: headers[header] for name, header in HEADERS.items() if header in headers} | dict(fields)
    values = {name: _value(name, value) for name, value in given.items()}
    return Options(
        thresholds=_thresholds(values["threshold"], indices, defaults.thresholds)
        if "threshold" in values
        else defaults.thresholds,
        top_k=_top_k(values.get("top_k", defaults.top_k), len(indices)),
        all_scores=_flag(values.get("all_scores", defaults.all_scores)),
    )


def _value(name: str, value: object) -> object:
    """Text, from a form or a header, holds JSON: 0.5, {"lynx": 0.3}, true."""
    if isinstance(value, bytes | bytearray | str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise BadOption(f"{name}: not valid JSON.") from None
    return value


def _thresholds(value: object, indices: Mapping[str, int], defaults: NDArray[np.float64]) -> NDArray[np.float64]:
    if is_threshold(value):
        return np.full_like(defaults, value)
    if not isinstance(value, dict):
        raise BadOption(f"threshold: expected {EXPECTED}, or an object of labels with such numbers.")
    thresholds = defaults.copy()
    for name, number in value.items():
        if name not in indices:
            raise BadOption(f"threshold: {quoted(name)} is no label of this model.")
        if not is_threshold(number):
            raise BadOption(f"threshold: of {quoted(name)}: expected {EXPECTED}.")
        thresholds[indices[name]] = number
    return thresholds


def _top_k(value: Any, classes: int) -> int:
    if type(value) is not int or not 0 <= value <= classes:
        raise BadOption(f"top_k: expected an integer from 0 to {classes}.")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadOption("all_scores: expected true or false.")
    return value


def quoted(text: str) -> str:
    """Client text for a message: quoted, escaped and short."""
    return json.dumps(text if len(text) <= 40 else text[:40] + "…")
