#!/usr/bin/env python3
"""Measures how much faster a CPU runs a network that OpenVINO converted than the same network frozen by torch.

Prints a table. The two take turns, pass by pass, so that what else the machine does slows both. Each has the threads of
a worker. Weights are random, which does not change the speed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench import failures
from bench.core import SIDE, WARM_UPS, make_model
from handler.converted import HINTS
from handler.cores import use_threads
from handler.settings import EngineName
from scripts.arguments import whole
from scripts.build_demo import ARCHITECTURE
from scripts.server.progress import show_progress

ARCHITECTURES = (ARCHITECTURE, "resnet50", "vit_small_patch16_224")
BEFORE: EngineName = "frozen"
AFTER: EngineName = "openvino"


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    use_threads(options.threads)
    rows = []
    for architecture in options.architecture:
        for precision in options.precision:
            show_progress(f"{architecture}, {precision}")
            before, after = compare(architecture, precision, options)
            rows.append(f"| {architecture} | {precision} | {before:.1f} | {after:.1f} | {before / after:.2f} |")
    show_progress("")
    print(f"| batches of {options.batch} | precision | frozen, ms an image | converted, ms an image | ratio |")
    print("\n".join(["|---|---|---|---|---|", *rows]))
    return 0


def compare(architecture: str, precision: str, options: argparse.Namespace) -> list[float]:
    """Milliseconds an image of BEFORE and of AFTER, of the median pass. Raises LoadError."""
    device = torch.device("cpu")
    models = [make_model(architecture, precision, name, device, options.threads) for name in (BEFORE, AFTER)]
    images = np.random.default_rng(0).integers(0, 256, (options.batch, SIDE, SIDE, 3), dtype=np.uint8)
    for model in models:
        for _ in range(WARM_UPS):
            model.scores(images)
    taken: list[list[float]] = [[] for _ in models]
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or not taken[-1]:
        for model, seconds in zip(models, taken, strict=True):
            started = time.perf_counter()
            model.scores(images)
            seconds.append(time.perf_counter() - started)
    return [1000 * statistics.median(seconds) / options.batch for seconds in taken]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--architecture", nargs="+", default=list(ARCHITECTURES), help="timm's names (default: %(default)s)")
    add("--precision", nargs="+", choices=list(HINTS), default=list(HINTS), help="default: %(default)s")
    add("--batch", type=whole(1), default=4, help="default: %(default)s")
    add("--threads", type=whole(1), default=1, help="a worker's (default: %(default)s)")
    add("--seconds", type=float, default=20, help="for each row, both together (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
