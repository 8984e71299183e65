#!/usr/bin/env python3
"""Checks that inference works on a device: the archives of a model store classify their golden inputs, and networks
with random weights give the same logits on the device as on the CPU. It needs neither a server nor the internet.

Exit codes: 0 all agree, 1 something does not, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import timm
import torch

from handler.classifier import Classifier
from handler.errors import LoadError
from handler.golden import GOLDEN_FILE
from scripts.archive.manifest import Archive, find_archives
from scripts.archive.unpacking import unpacked
from scripts.paths import MODEL_STORE

# Together they use what timm's networks are made of: plain, depthwise and grouped convolutions, attention over windows
# and over the whole image.
NETWORKS = ("resnet18", "tf_efficientnet_lite0", "regnetx_002", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
TOLERANCE = 0.05  # of the logits' standard deviation; TF32 and another order of summation account for some


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no GPU", file=sys.stderr)
        return 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, on {name}")
    try:
        archives = find_archives(options.model_store)
        problems = [problem for archive in archives if (problem := _check_archive(archive, device))]
    except LoadError as error:
        problems = [str(error)]
    problems += [problem for name in NETWORKS if (problem := _check_network(name, device))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _check_archive(archive: Archive, device: torch.device) -> str | None:
    try:
        with unpacked(archive.path) as directory:
            classifier = Classifier.load(directory, device)
            if classifier.settings.self_check or (directory / GOLDEN_FILE).exists():
                classifier.self_check(directory)
                print(f"ok  {archive}: golden inputs")
            else:
                classifier.warm_up()
                print(f"ok  {archive}: classifies noise; it has no golden inputs (self_check: false)")
    except LoadError as error:
        return f"{archive}: {error}"
    return None


def _check_network(name: str, device: torch.device) -> str | None:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=8).eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = network(images)
        actual = network.to(device)(images.to(device)).cpu()
    difference = ((expected - actual).abs().max() / expected.std()).item()
    if not difference <= TOLERANCE:  # also where it is not a number
        return f"{name}: logits are off by {difference:.2g} standard deviations, expected {TOLERANCE} at most"
    print(f"ok  {name}: logits are off by {difference:.1g} standard deviations")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="a device of torch (default: %(default)s)")
    parser.add_argument("--model-store", type=Path, default=MODEL_STORE, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
