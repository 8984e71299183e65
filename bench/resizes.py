#!/usr/bin/env python3
"""Measures timm's transform with Pillow's resize beside the one by area averaging, in one process.

    .venv/bin/python bench/resizes.py

For each size of a photo (Chelsea, enlarged): the median milliseconds of `Pipeline.prepare` on one thread, turn by turn.
"""

import argparse
import statistics
import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import skimage
import timm
from PIL import Image

from handler.preprocess import make_pipeline
from scripts.archive.sources import pipeline_from_timm

CHELSEA = Path(skimage.__file__).parent / "data" / "chelsea.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[451, 1280, 4032])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    pipelines = {
        resize: make_pipeline(pipeline_from_timm(network, None, "bench", resize=resize), "bench")
        for resize in ("area", "pillow")
    }
    photo = Image.open(BytesIO(CHELSEA.read_bytes())).convert("RGB")
    for width in options.widths:
        pixels = np.asarray(photo.resize((width, width * photo.height // photo.width), Image.Resampling.BICUBIC))
        seconds: dict[str, list[float]] = {name: [] for name in pipelines}
        for _ in range(options.rounds):
            for name, pipeline in pipelines.items():
                started = time.perf_counter()
                pipeline.prepare(pixels)
                seconds[name].append(time.perf_counter() - started)
        area, pillow = (1000 * statistics.median(seconds[name]) for name in ("area", "pillow"))
        print(
            f"{width:5} x {pixels.shape[0]:<5} area {area:7.2f} ms  pillow {pillow:7.2f} ms  {pillow / area:5.1f} times"
        )


if __name__ == "__main__":
    main()
