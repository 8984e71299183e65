"""Golden inputs: images that travel with the archive, and the scores they had when it was built."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handler.errors import LoadError

GOLDEN_FILE = "golden.json"
GOLDEN_DIRECTORY = "golden"


@dataclass(frozen=True)
class Golden:
    """One input: its name, its encoded bytes and its expected scores [C] float64."""

    name: str
    image: bytes
    scores: NDArray[np.float64]


def read_golden(directory: Path, classes: int) -> list[Golden]:
    """Reads golden.json, {file name: [score, …]}, and the files it names."""
    path = directory / GOLDEN_FILE
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(expected, dict) or not expected:
            raise LoadError(path, "expected {file name: [score, …]} with at least one file")
        golden = []
        for name, scores in expected.items():
            if not isinstance(scores, list) or len(scores) != classes:
                raise LoadError(path, f"{name}: expected {classes} scores")
            image = (directory / GOLDEN_DIRECTORY / Path(name).name).read_bytes()
            golden.append(Golden(name, image, np.array(scores, dtype=np.float64)))
        return golden
    except FileNotFoundError as error:
        raise LoadError(
            Path(str(error.filename)), "missing, expected a golden input (or handler.self_check: false)"
        ) from None
    except ValueError as error:
        raise LoadError(path, f"not a valid golden file: {error}") from None
