#!/usr/bin/env python3
"""Packages the smallest member of many families of timm, and compares the scores that each engine gives with plain
timm's: its own evaluation transform and its network, in float32.

    .venv/bin/python bench/families.py [ARCHITECTURE ...]

Prints a table in Markdown. The weights are random, and so are layer scales and whatever else timm begins with at one
value; batch norms have the statistics of the photos, varied. The last layer is scaled so that the scores of the photos
differ: `spread` is the smallest difference of a label's best and worst score. The exit code is 1 where a network can't
be packaged, or where an engine's score differs by more than TOLERANCE.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

from handler.classifier import Classifier
from handler.engines import ENGINES, Name
from handler.errors import ItemError, LoadError
from scripts.archive.recipe import Recipe
from scripts.archive.stage import write_stage

FAMILIES = {
    "ResNet": "resnet18",
    "DenseNet": "densenet121",
    "EfficientNet": "efficientnet_b0",
    "RegNet": "regnety_002",
    "MobileNetV3": "mobilenetv3_small_050",
    "MobileNetV4": "mobilenetv4_conv_small_035",
    "MobileNetV4, hybrid": "mobilenetv4_hybrid_medium",
    "NFNet": "nfnet_l0",
    "RepVGG": "repvgg_a0",
    "FastViT": "fastvit_t8",
    "ConvNeXt": "convnext_atto",
    "ConvNeXt V2": "convnextv2_atto",
    "ViT, class token": "vit_tiny_patch16_224",
    "ViT, mean of patches": "vit_wee_patch16_reg1_gap_256",
    "DeiT, distilled": "deit_tiny_distilled_patch16_224",
    "DINOv2": "vit_small_patch14_dinov2",
    "DINOv3": "vit_small_patch16_dinov3",
    "SigLIP": "vit_base_patch32_siglip_256",
    "EVA-02": "eva02_tiny_patch14_224",
    "Swin": "swin_tiny_patch4_window7_224",
    "Swin V2": "swinv2_tiny_window8_256",
    "MaxViT": "maxvit_rmlp_pico_rw_256",
    "CAFormer": "caformer_s18",
    "LeViT": "levit_128s",
    "TinyViT": "tiny_vit_5m_224",
    "MobileViT": "mobilevit_xxs",
    "Hiera": "hiera_tiny_224",
}
TOLERANCE = 1e-5
LABELS = ["ant", "bee", "cat", "dog", "elk"]
PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")
WIDTHS = (120, 451, 1400)  # pixels, of each photo in turn


@dataclass(frozen=True)
class Result:
    architecture: str
    reason: str = ""  # why it can't be packaged
    size: str = ""  # of the input
    parameters: int = 0
    spread: float = 0.0  # of a label's scores over the photos, the smallest
    differences: dict[Name, float] = field(default_factory=dict)  # of a score, the largest
    reasons: dict[Name, str] = field(default_factory=dict)  # why an engine does not take it

    @property
    def holds(self) -> bool:
        return not self.reason and all(value <= TOLERANCE for value in self.differences.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE", help="default: all of FAMILIES")
    asked = parser.parse_args(arguments).architectures
    families = {name: name for name in asked} or FAMILIES
    print("| family | smallest member | input | parameters | spread | eager | frozen | openvino |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    results = []
    for family, architecture in families.items():
        results.append(_apart(architecture))
        print(_row(family, results[-1]), flush=True)
    return 0 if all(result.holds for result in results) else 1


def _apart(architecture: str) -> Result:
    """In a process of its own, which gives its memory back, and may crash."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(examine, architecture).result()
        except BrokenProcessPool:
            return Result(architecture, "its process crashed")


def _row(family: str, result: Result) -> str:
    if result.reason:
        return f"| {family} | `{result.architecture}` | {result.reason} | | | | | |"
    cells = [result.reasons.get(name) or f"{result.differences[name]:.1e}" for name in ENGINES]
    eager_first = " | ".join(reversed(cells))
    size, spread = f"{result.parameters / 1e6:.1f} M", f"{result.spread:.2f}"
    return f"| {family} | `{result.architecture}` | {result.size} | {size} | {spread} | {eager_first} |"


def examine(architecture: str) -> Result:
    images = _photos()
    with tempfile.TemporaryDirectory(prefix="family-") as folder, torch.inference_mode():
        directory = Path(folder)
        try:
            network, transform = _plain(architecture)
            batch = [transform(image)[None] for image in images]
            _see(network, batch)
            _spread_logits(network, batch)
            expected = np.stack([torch.sigmoid(network(image))[0].numpy() for image in batch])
            classifiers, reasons = _package(architecture, network, images, directory)
        except LoadError as error:
            return Result(architecture, str(error).replace(folder, "").replace("|", "/"))
        payloads = [path.read_bytes() for path in sorted(directory.glob("photo*.png"))]
        differences = {
            name: float(np.abs(_scores(classifier, payloads) - expected).max())
            for name, classifier in classifiers.items()
        }
        return Result(
            architecture,
            size=" x ".join(str(side) for side in batch[0].shape[2:]),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            spread=float((expected.max(axis=0) - expected.min(axis=0)).min()),
            differences=differences,
            reasons=reasons,
        )


def _photos() -> list[Image.Image]:
    folder = Path(skimage.__file__).parent / "data"
    photos = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    return [
        photo.resize((width, width * photo.height // photo.width), Image.Resampling.BICUBIC)
        for photo in photos
        for width in WIDTHS
    ]


def _plain(architecture: str) -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False, num_classes=len(LABELS)).eval()
    for parameter in network.parameters():
        _vary(parameter)
    return network, create_transform(**resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]


def _vary(tensor: torch.Tensor) -> None:
    """timm begins with ones, zeros and small layer scales, with which much of a network does nothing."""
    value = float(tensor.flatten()[0])
    if bool((tensor == value).all()):
        if value == 0 and tensor.numel() > 1:
            tensor.normal_(0, 0.02)
        elif value == 1:
            tensor.uniform_(0.5, 1.5)
        elif 0 <= value <= 0.1:
            tensor.uniform_(0.1, 0.5)


def _see(network: torch.nn.Module, batch: Sequence[torch.Tensor]) -> None:
    """Gives batch norms the statistics of the photos, and varies them. With any others the numbers of a deep network
    grow until float32 holds nothing of the photos."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean of all that it sees
    network.train()
    if norms:
        network(torch.cat(list(batch)))
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.2)
    network.eval()


def _spread_logits(network: torch.nn.Module, batch: Sequence[torch.Tensor]) -> None:
    """Scales the last layer, or both of a distilled network: logits of the photos with a mean of 0 and a deviation
    of 1."""
    logits = torch.stack([network(image)[0] for image in batch])
    mean, deviation = logits.mean(dim=0), logits.std(dim=0)
    names: Any = network.pretrained_cfg["classifier"]  # type: ignore[index]
    for name in (names,) if isinstance(names, str) else names:
        layer: Any = network.get_submodule(name)
        layer.weight /= deviation.view(-1, *[1] * (layer.weight.dim() - 1))
        layer.bias -= mean
        layer.bias /= deviation


def _package(
    architecture: str, network: torch.nn.Module, images: Sequence[Image.Image], directory: Path
) -> tuple[dict[Name, Classifier], dict[Name, str]]:
    """The archive's classifier by each engine, and why there is none."""
    for number, image in enumerate(images):
        image.save(directory / f"photo{number:02}.png")
    checkpoint = {"arch": architecture, "state_dict": network.state_dict(), "class_names": LABELS}
    torch.save(checkpoint, directory / "best.pt")
    (directory / "stage").mkdir()
    golden = [directory / "photo00.png", directory / "photo04.png"]
    stage = write_stage(Recipe(directory / "best.pt", "family", golden=golden), directory / "stage")
    classifiers: dict[Name, Classifier] = {}
    reasons: dict[Name, str] = {}
    for name in ENGINES:
        try:
            classifiers[name] = Classifier.load(directory / "stage", torch.device("cpu"), engine=name)
        except LoadError as error:
            reasons[name] = (stage.unconverted if name == "openvino" else None) or str(error)
            reasons[name] = reasons[name].replace(f"{directory}/", "").replace("|", "/")
    return classifiers, reasons


def _scores(classifier: Classifier, payloads: Sequence[bytes]) -> NDArray[np.float32]:
    scores = classifier.classify(payloads)
    errors = [outcome for outcome in scores if isinstance(outcome, ItemError)]
    if errors:
        raise errors[0]
    return np.stack([outcome for outcome in scores if not isinstance(outcome, ItemError)])


if __name__ == "__main__":
    sys.exit(main())
