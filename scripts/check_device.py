#!/usr/bin/env python3
"""Whether this environment can do inference on a device: the archives of a model store classify their golden inputs,
and networks with random weights give the same on the device as on the CPU. It needs no server and no network.

Exit codes: 0 all agree, 1 something does not, 2 wrong usage.
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

import timm
import torch

from handler.classifier import Classifier
from handler.errors import LoadError
from scripts.archive.manifest import Archive, find_archives

MODEL_STORE = Path(__file__).resolve().parents[1] / "model_store"
# What timm's networks are made of: plain, depthwise and grouped convolutions, attention in windows and in whole.
NETWORKS = ("resnet18", "tf_efficientnet_lite0", "regnetx_002", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
TOLERANCE = 0.05  # of the logits' spread; TF32 and other orders of summation cost some


def main() -> int:
    arguments = _parser().parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch sees no GPU", file=sys.stderr)
        return 1
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, on {on}")
    try:
        archives = find_archives(arguments.model_store)
        problems = [problem for archive in archives if (problem := _check_archive(archive, device))]
    except LoadError as error:
        problems = [str(error)]
    problems += [problem for name in NETWORKS if (problem := _check_network(name, device))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _check_archive(archive: Archive, device: torch.device) -> str | None:
    with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(archive.path) as mar:
        mar.extractall(unpacked)
        try:
            Classifier.load(Path(unpacked), device).self_check(Path(unpacked))
        except LoadError as error:
            return f"{archive}: {error}"
    print(f"ok  {archive}: golden inputs")
    return None


def _check_network(name: str, device: torch.device) -> str | None:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=8).eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = network(images)
        got = network.to(device)(images.to(device)).cpu()
    difference = ((expected - got).abs().max() / expected.std()).item()
    if not difference <= TOLERANCE:  # also where it is not a number
        return f"{name}: logits differ from the CPU's by {difference:.2g} of their spread, expected {TOLERANCE} at most"
    print(f"ok  {name}: logits differ from the CPU's by {difference:.1g} of their spread")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as torch names it (default: %(default)s)")
    parser.add_argument("--model-store", type=Path, default=MODEL_STORE, help="default: model_store")
    return parser


if __name__ == "__main__":
    sys.exit(main())
