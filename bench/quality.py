#!/usr/bin/env python3
"""Measures the time and the peak memory of calibrate and evaluate as the images grow. `times` is the growth in seconds
since the size before.

The scores are synthetic: a label with score s is true with probability s, and then the scores are made overconfident.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench import failures
from handler.calibration import Calibration
from scripts.arguments import whole
from scripts.paths import ROOT
from scripts.quality.fitting import calibrated
from scripts.quality.parquet import write_part
from scripts.quality.scores import Origin, Row

PART = 100_000  # rows in a file


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    print(f"{'':10} {'images':>10} {'seconds':>8} {'times':>6} {'GB':>6}")
    before: dict[str, float] = {}
    for images in sorted(options.images):
        with tempfile.TemporaryDirectory(prefix="scores-") as directory:
            scores, calibration = Path(directory) / "scores", Path(directory) / "calibration.json"
            write_scores(scores, images, options.labels)
            commands: dict[str, list[str | Path]] = {
                "calibrate": [scores, "--output", calibration, "--force"],
                "evaluate": [scores],
            }
            for name, flags in commands.items():
                rounds = [_run(name, flags) for _ in range(options.rounds)]
                seconds, memory = (statistics.median(values) for values in zip(*rounds, strict=True))
                times = f"{seconds / before[name]:6.1f}" if name in before else f"{'–':>6}"
                before[name] = seconds
                print(f"{name:10} {images:10} {seconds:8.1f} {times} {memory:6.2f}", flush=True)
    return 0


def write_scores(directory: Path, images: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = [f"label {number}" for number in range(classes)]
    none = Calibration.none(classes).to_dict(labels)
    model = {"name": "x", "version": "1", "sha256": ""}
    origin = Origin(labels, dict.fromkeys(labels, 0.5), none, model, "x", "", "")
    bend = Calibration(np.full(classes, 2.0), np.zeros(classes))
    directory.mkdir()
    for start in range(0, images, PART):
        scores = rng.beta(0.6, 5.4, (min(PART, images - start), classes))  # one label in ten
        truth = rng.random(scores.shape) < scores
        rows = [
            Row(f"{start + number}.jpg", answer.tolist(), None, known.tolist(), _image(start + number))
            for number, (answer, known) in enumerate(zip(calibrated(scores, bend), truth.astype(int), strict=True))
        ]
        write_part(directory / f"scores-1-of-1-{start // PART:06}.parquet", origin, rows)


def _image(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _run(name: str, flags: Sequence[str | Path]) -> tuple[float, float]:
    """Seconds, and the peak memory in GB."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, ROOT / "scripts" / f"{name}.py", *flags], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return time.monotonic() - started, used.ru_maxrss / 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", nargs="+", type=whole(1), default=[10_000, 100_000, 1_000_000], help="default: %(default)s")
    add("--rounds", type=whole(1), default=3, help="the median counts (default: %(default)s)")
    add("--labels", type=whole(1), default=20, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
