"""Scores whose truth follows a known distribution, and an archive that is quick to load."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.archive.recipe import Recipe
from scripts.build_archive import build_archive
from scripts.quality.parquet import write_part
from scripts.quality.scores import Origin, Row

LABELS = ["ant", "bee", "cat"]
SHA = "5" * 64
EAGER = {"engine": "eager"}  # settings of an archive: freezing takes most of the time of a build or a load


def calibrated_scores(images: int, classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scores s from 0 to 1; an image has a label with probability s."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.6, 1.8, (images, classes)).astype(np.float32)
    return scores, (rng.random((images, classes)) < scores).astype(np.int8)


def sharpened(scores: NDArray[np.float32], scale: float, shift: float = 0.0) -> NDArray[np.float32]:
    """Overconfident scores: scale and shift change the logits."""
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return (1 / (1 + np.exp(-(scale * np.log(clipped / (1 - clipped)) + shift)))).astype(np.float32)


def origin(**changes: Any) -> Origin:
    calibration = {name: {"scale": 1.0, "shift": 0.0} for name in LABELS}
    model = {"name": "cats", "version": "1.0", "sha256": SHA}
    usual = Origin(LABELS, dict.fromkeys(LABELS, 0.5), calibration, model, "data.csv", "d" * 64, ".")
    return Origin(**json.loads(json.dumps({**asdict(usual), **changes})))


def tiny_archive(checkpoint: Path) -> Path:
    """An archive of the tiny checkpoint, beside it, built once."""
    target = checkpoint.with_name("eager.mar")
    if not target.exists():
        build_archive(Recipe(checkpoint, "tiny", handler=EAGER), target)
    return target


def image(name: str) -> bytes:
    """The hash of an image that stands for this name."""
    return hashlib.sha256(name.encode()).digest()


def write_scores(
    directory: Path, scores: NDArray[np.float32], truth: NDArray[np.int8], of: Origin | None = None, prefix: str = ""
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        Row(f"{prefix}{number}.jpg", row.tolist(), None, known.tolist(), image(f"{prefix}{number}.jpg"))
        for number, (row, known) in enumerate(zip(scores, truth, strict=True))
    ]
    write_part(directory / "scores-1-of-1-000000.parquet", of or origin(), rows)
    return directory
