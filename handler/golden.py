"""Golden inputs: images that travel with the archive, and the scores they had when it was built."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import LoadError
from handler.files import read_json, unreadable

GOLDEN_FILE = "golden.json"
GOLDEN_DIRECTORY = "golden"


@dataclass(frozen=True)
class Golden:
    """One input: its name, its encoded bytes and its expected scores [C] float64."""

    name: str
    image: bytes
    scores: NDArray[np.float64]

    def difference(self, scores: NDArray[Any], labels: Sequence[str], tolerance: float) -> str | None:
        """Says which of the scores [C] is furthest from the expected one, if that is by more than the tolerance."""
        differences = np.abs(scores - self.scores)
        if (differences <= tolerance).all():  # a score that is not a number is not within it
            return None
        worst = int(np.nan_to_num(differences, nan=np.inf).argmax())
        expected = f"expected {self.scores[worst]:.4f} within {tolerance:g}"
        return f"{labels[worst]!r} scores {scores[worst]:.4f}, {expected}"


def read_golden(directory: Path, classes: int) -> list[Golden]:
    """Reads golden.json, {file name: [score, …]}, and the files it names. Raises LoadError."""
    path = directory / GOLDEN_FILE
    expected = read_json(path, "golden inputs (or handler.self_check: false)")
    if not isinstance(expected, dict) or not expected:
        raise LoadError(path, "expected {file name: [score, …]} with at least one file")
    return [_read_input(directory, name, scores, classes) for name, scores in expected.items()]


def _read_input(directory: Path, name: str, scores: object, classes: int) -> Golden:
    # NaN is in no range, so it is refused as well.
    if (
        not isinstance(scores, list)
        or len(scores) != classes
        or not all(type(score) in (int, float) and 0 <= score <= 1 for score in scores)
    ):
        raise LoadError(directory / GOLDEN_FILE, f"{name}: expected {classes} scores from 0 to 1")
    image = directory / GOLDEN_DIRECTORY / Path(name).name
    try:
        return Golden(name, image.read_bytes(), np.array(scores, dtype=np.float64))
    except OSError as error:
        raise unreadable(image, error, "a golden input") from None
