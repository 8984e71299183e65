#!/usr/bin/env python3
"""Measures how far each setting that saves time moves an archive's scores. The reference decodes whole JPEGs and runs
the eager network in float32.

Every photo is tried at several sizes, qualities and chroma subsamplings. An enlarged photo is too smooth to show what
a smaller decode loses, so each size is also tiled with the photo in its own sharpness.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench import failures
from handler.classifier import Classifier
from handler.errors import ItemError, LoadError
from scripts.archive.stage import PLAIN
from scripts.archive.unpacking import unpacked
from scripts.paths import DEMO

# The second, fourth and last are just large enough for the demo to be decoded at a half, a quarter and an eighth.
SIZES = ((640, 480), (1200, 900), (1280, 960), (2400, 1800), (4032, 3024), (4800, 3600))
QUALITIES = (60, 80, 95)
SUBSAMPLINGS = {0: "4:4:4", 2: "4:2:0"}  # Pillow's numbers


@dataclass(frozen=True)
class Difference:
    """Between one setting and the plain ones, over all variants of the photos."""

    images: int
    largest: float  # difference of a score
    mean_of_largest: float  # mean of the images' largest differences
    labels_changed: float  # share of all labels of all images that reach their threshold in one case only
    best_changed: float  # share of the images with another best label


def variants(photos: Sequence[Path]) -> Iterator[bytes]:
    """Each photo as JPEGs of each size, enlarged and tiled."""
    for photo in photos:
        with Image.open(photo) as opened:
            image = opened.convert("RGB")
        for width, height in SIZES:
            tiles = Image.new("RGB", (width, height))
            for x in range(0, width, image.width):
                for y in range(0, height, image.height):
                    tiles.paste(image, (x, y))
            for filled in (image.resize((width, height), Image.Resampling.BICUBIC), tiles):
                for quality in QUALITIES:
                    for subsampling in SUBSAMPLINGS:
                        buffer = BytesIO()
                        filled.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
                        yield buffer.getvalue()


def difference(plain: NDArray[np.float32], other: NDArray[np.float32], thresholds: NDArray[np.float64]) -> Difference:
    """plain, other: scores [N, C]. thresholds: [C]."""
    worst = np.abs(plain - other).max(axis=1)
    fired = (plain >= thresholds) != (other >= thresholds)
    return Difference(
        len(plain),
        round(float(worst.max()), 5),
        round(float(worst.mean()), 5),
        round(float(fired.mean()), 5),
        round(float((plain.argmax(axis=1) != other.argmax(axis=1)).mean()), 5),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    device = torch.device(options.device)
    changes: dict[str, dict[str, Any]] = {
        "engine": {"engine": "auto"},
        "precision: bfloat16": {"precision": "bfloat16", "engine": "auto", "golden_tolerance": 0.5},
        "decode: scaled": {"decode": "scaled"},
        "all three": {"engine": "auto", "precision": "bfloat16", "decode": "scaled", "golden_tolerance": 0.5},
    }
    with unpacked(options.archive) as directory:
        plain = Classifier.load(directory, device, **PLAIN)
        others = {name: Classifier.load(directory, device, **{**PLAIN, **change}) for name, change in changes.items()}
    scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ("plain", *others)}
    for jpeg in variants(options.photo):
        for name, classifier in (("plain", plain), *others.items()):
            [outcome] = classifier.classify([jpeg])
            if isinstance(outcome, ItemError):
                raise LoadError(name, f"{outcome.code}: {outcome}")
            scores[name].append(outcome)
    reference = np.stack(scores["plain"])
    differences = {name: asdict(difference(reference, np.stack(scores[name]), plain.thresholds)) for name in others}
    print(json.dumps(differences, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="+", type=Path)
    parser.add_argument("--archive", type=Path, default=DEMO, help="default: %(default)s")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
