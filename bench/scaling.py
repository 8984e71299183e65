#!/usr/bin/env python3
"""Measures how the cost grows with the batch, with the pixels of a photo and with the labels, in this process.

Writes scaling.json and scaling.png. Each point is a median; the points of a line are measured in turns.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from bench import failures
from bench.tables import BLUE, GREY, ORANGE
from handler.classifier import WARM_UPS, Classifier
from handler.cores import use_threads
from handler.decode import decode
from handler.item import Item, Outcome
from handler.options import Options
from handler.parser import Task
from handler.responses import Responder
from scripts.archive.unpacking import unpacked
from scripts.arguments import whole
from scripts.paths import BUILD, DEMO

BATCHES = (1, 2, 4, 8, 16, 32)
MEGAPIXELS = (0.1, 0.5, 1, 2, 5, 10, 20, 35, 50)
LABELS = (1, 10, 50, 100, 200, 500, 1000)
Points = dict[float, float]  # seconds, by batch size, megapixels or number of labels


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    with unpacked(options.archive) as directory:
        classifier = Classifier.load(directory, torch.device("cpu"))
    use_threads(classifier.torch_threads)
    lines: dict[str, dict[str, Points]] = {
        "images in a batch": {"forward pass": _batches(classifier, options.rounds)},
        "megapixels": _pixels(classifier, options.photo, options.rounds),
        "labels": {"decision and answer, all scores": _labels(classifier, options.rounds)},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "scaling.json").write_text(json.dumps(lines, indent=1) + "\n")
    _plot(lines, options.output / "scaling.png")
    print(
        json.dumps({title: {name: slope(points) for name, points in panel.items()} for title, panel in lines.items()})
    )
    return 0


def slope(points: Points) -> float:
    """The exponent of the cost's growth over the upper half: 1 is linear, 2 is quadratic."""
    upper = list(points.items())[len(points) // 2 :]
    x, y = np.log(np.array(upper)).T
    return round(float(np.polyfit(x, y, 1)[0]), 2)


def _medians(calls: dict[float, Callable[[], object]], rounds: int) -> Points:
    taken: dict[float, list[float]] = {size: [] for size in calls}
    for number in range(rounds + 1):
        for size, call in calls.items():
            started = time.perf_counter()
            call()
            if number:  # the first round warms up
                taken[size].append(time.perf_counter() - started)
    return {size: statistics.median(seconds) for size, seconds in taken.items()}


def _batches(classifier: Classifier, rounds: int) -> Points:
    batches = {size: classifier.example(size) for size in BATCHES}
    for batch in batches.values():
        for _ in range(WARM_UPS):
            classifier.model.scores(batch)
    return _medians({size: partial(classifier.model.scores, batch) for size, batch in batches.items()}, rounds)


def _pixels(classifier: Classifier, photo: Path, rounds: int) -> dict[str, Points]:
    limits = dataclasses.replace(classifier.settings.limits, max_image_bytes=2**30)
    side = classifier.shortest_side
    points = {}

    def prepare(payload: bytes, shortest: int | None) -> object:
        return classifier.preprocess(Item(decode(payload, limits, shortest), classifier.options))

    with Image.open(photo) as opened:
        image = opened.convert("RGB")
        forms = (("JPEG, scaled", "JPEG", side), ("JPEG, exact", "JPEG", None), ("PNG", "PNG", None))
        for name, kind, shortest in forms:
            calls: dict[float, Callable[[], object]] = {}
            for million in MEGAPIXELS:
                width = round((million * 1e6 * 4 / 3) ** 0.5)
                buffer = BytesIO()
                image.resize((width, width * 3 // 4)).save(buffer, kind)
                calls[million] = partial(prepare, buffer.getvalue(), shortest)
            points[name] = _medians(calls, max(3, rounds // 4))
    return points


def _labels(classifier: Classifier, rounds: int) -> Points:
    noise = np.random.default_rng(0)
    calls: dict[float, Callable[[], object]] = {}
    for count in LABELS:
        wide = dataclasses.replace(
            classifier,
            labels=tuple(f"label {index}" for index in range(count)),
            thresholds=np.full(count, 0.5),
        )
        responder = Responder(wide, {"name": "demo", "version": "1.0", "sha256": "0" * 64})
        task = Task("native", (b"",), False, Options(wide.thresholds, 5, True))
        scores = noise.random(count, dtype=np.float32)
        calls[count] = partial(responder.answer, task, [Outcome(scores)])
    return _medians(calls, 10 * rounds)


def _plot(lines: dict[str, dict[str, Points]], path: Path) -> None:
    figure, axes = plt.subplots(1, len(lines), figsize=(12, 3.6), layout="constrained")
    for axis, (title, panel) in zip(axes, lines.items(), strict=True):
        for (name, points), colour in zip(panel.items(), (BLUE, ORANGE, GREY), strict=False):
            axis.plot(list(points), [1000 * seconds for seconds in points.values()], "o-", color=colour, label=name)
        axis.set_xlabel(title)
        axis.set_ylabel("ms")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--photo", type=Path, required=True)
    add("--output", type=Path, default=BUILD / "bench", help="default: %(default)s")
    add("--rounds", type=whole(1), default=15, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
