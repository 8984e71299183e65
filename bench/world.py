"""A known world of images and labels, its scores as files, and the commands on them.

An image has each label with its prevalence. Its logit is the true one, stretched: an overconfident network.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from handler.calibration import Calibration
from scripts.quality.measures import Array
from scripts.quality.parquet import write_part
from scripts.quality.scores import Origin, Row

Sampled = tuple[NDArray[np.float32], NDArray[np.int8]]


@dataclass(frozen=True)
class World:
    prevalence: Array  # [C]
    distance: float = 2.0  # of images with a label from those without, in standard deviations
    stretch: float = 1.4

    def truth(self, rng: np.random.Generator, images: int) -> NDArray[np.int8]:
        return (rng.random((images, len(self.prevalence))) < self.prevalence).astype(np.int8)

    def scores(self, rng: np.random.Generator, truth: NDArray[np.int8], shared: Array | float = 0.0) -> Any:
        """shared: noise that two versions have in common, for the same images."""
        own = rng.normal(size=truth.shape)
        noise = own if isinstance(shared, float) else np.sqrt(0.5) * (own + shared)
        # The true logit of two normal distributions with the same deviation.
        z = logit(self.prevalence) + self.distance**2 * (truth - 0.5) + self.distance * noise
        return expit(self.stretch * z).astype(np.float32)

    def sample(self, rng: np.random.Generator, images: int) -> Sampled:
        truth = self.truth(rng, images)
        return self.scores(rng, truth), truth


def world(labels: int) -> World:
    most, least = (0.4, 0.02) if labels < 80 else (0.3, 0.002)
    return World(np.geomspace(most, least, labels).astype(np.float64))


def write_scores(directory: Path, scores: NDArray[np.float32], truth: NDArray[np.int8], origin: Origin) -> None:
    directory.mkdir()
    rows = [
        Row(f"{number}.jpg", row, None, known, sha256(str(number).encode()).digest())
        for number, (row, known) in enumerate(zip(scores.tolist(), truth.tolist(), strict=True))
    ]
    write_part(directory / "scores-1-of-1-000000.parquet", origin, rows)


def origin_of(
    labels: list[str],
    version: str,
    thresholds: dict[str, float] | None = None,
    calibration: dict[str, dict[str, float]] | None = None,
    settings: dict[str, Any] | None = None,
) -> Origin:
    none = Calibration.none(len(labels)).to_dict(labels)
    model = {"name": "x", "version": version, "sha256": version}
    return Origin(labels, thresholds or dict.fromkeys(labels, 0.5), calibration or none, model, "x", "", "", settings)


def run(command: Callable[[Sequence[str]], int], *arguments: object) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command([str(each) for each in arguments])
    if code:
        raise RuntimeError(said.getvalue())
