#!/usr/bin/env python3
"""Measures the network alone, as the handler runs it: prepared photos → scores, in images a second.

The figures are set beside timm's published inference table (RTX 4090, 224 pixels, amp, channels-last). The time
includes the copy to the device and back. Weights are random: they don't change the speed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench import failures
from handler.converted import compile_converted
from handler.cores import available_cores, use_threads
from handler.engines import ENGINES, Plan, as_logits, start_engine
from handler.errors import LoadError
from handler.model import Model
from handler.network import DTYPES, Forward, create_network
from handler.preprocess import Normalise
from handler.settings import EngineName
from scripts.archive.conversion import convert
from scripts.arguments import whole

# Images a second in timm's table.
TIMM = {"resnet50": 5088, "efficientnet_b0": 9832, "convnext_tiny": 4845, "vit_base_patch16_224": 2843}
WARM_UPS = 5
SIDE = 224


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    use_threads(available_cores())
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {available_cores()} cores"
    print(json.dumps({"device": name, "torch": torch.__version__}), flush=True)
    for architecture in options.architecture:
        for precision in options.precision:
            for engine in options.engine:
                try:
                    model = make_model(architecture, precision, engine, device, available_cores())
                    for batch in options.batch:
                        _print(architecture, precision, engine, batch, images_a_second(model, batch, options.seconds))
                except (LoadError, MemoryError) as error:
                    failed = {"architecture": architecture, "engine": engine, "error": str(error) or "out of memory"}
                    print(json.dumps(failed), flush=True)
    return 0


def images_a_second(model: Model, batch: int, seconds: float) -> float:
    """Of the median pass."""
    images = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8)
    for _ in range(WARM_UPS):
        model.scores(images)
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 3:
        started = time.perf_counter()
        model.scores(images)  # ends with the scores on the CPU: nothing is left to wait for
        taken.append(time.perf_counter() - started)
    return batch / statistics.median(taken)


def make_model(architecture: str, precision: str, engine: EngineName, device: torch.device, threads: int) -> Model:
    """With random weights, for photos of SIDE pixels. threads: of a converted network. Raises LoadError."""
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255)
    network = create_network(architecture, 1000, {}, architecture)
    example = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    if engine == "openvino":
        converted = convert(Forward(network, normalise).on(device), example)
        return Model(as_logits(compile_converted(converted, precision, threads)), device)
    forward = Forward(network, normalise, precision).on(device)
    plan = Plan(lambda: forward, torch.from_numpy(example).to(device), tolerance=0.5, precision=precision)
    return Model(start_engine(engine, plan, architecture)[1], device)


def _print(architecture: str, precision: str, engine: str, batch: int, rate: float) -> None:
    row = {"architecture": architecture, "precision": precision, "engine": engine, "batch": batch}
    published = TIMM.get(architecture)
    ratio = {"over timm's RTX 4090": round(rate / published, 3)} if published else {}
    print(json.dumps({**row, "images_a_second": round(rate, 1), **ratio}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu",
        help="default here: %(default)s")  # fmt: skip
    add("--architecture", nargs="+", default=list(TIMM))
    add("--precision", nargs="+", choices=DTYPES, default=["float32", "bfloat16", "float16"])
    add("--engine", nargs="+", choices=ENGINES, default=list(ENGINES), help="openvino: on a CPU (default: all)")
    add("--batch", nargs="+", type=whole(1), default=[1, 8, 32, 64, 128, 256])
    add("--seconds", type=float, default=2, help="length of one measurement (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
