#!/usr/bin/env python3
"""Trains a small network with PyTorch Lightning and packages the run as an archive that can be served.

    .venv/bin/python examples/lightning_run.py --output build/lightning

It takes seconds on a CPU. The network learns which of four photos of scikit-image are in an image. This is good for
nothing but to show the way from a LightningModule to a .mar: scripts/build_archive.py takes Lightning's own .ckpt. It
finds the network in it by timm's names, and the architecture and labels among the hyperparameters.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytorch_lightning as lightning
import skimage
import timm
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = Path(skimage.__file__).parent / "data"
LABELS = {"cat": "chelsea.png", "cup": "coffee.png", "face": "astronaut.png", "rocket": "rocket.jpg"}
ARCHITECTURE = "test_efficientnet"  # timm's smallest kind of network: 0.4 million weights
SIDE = 96  # pixels

# What the network sees when it is validated, and so what the server must do as well: it goes into the archive.
# Every transform has p=1, so that it gives the same for the same photo each time.
VALIDATION = A.Compose([
    A.Resize(SIDE, SIDE, interpolation=cv2.INTER_AREA, p=1),
    A.Normalize(p=1),
    ToTensorV2(p=1),
])  # fmt: skip
TRAINING = A.Compose([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=0.5), *VALIDATION.transforms], seed=0)


class Pairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Two crops side by side, and the labels of both: [3, SIDE, SIDE] float32 and [C] float32."""

    def __init__(self, size: int, transform: A.Compose, seed: int) -> None:
        self.photos = [np.asarray(Image.open(PHOTOS / name).convert("RGB")) for name in LABELS.values()]
        self.size, self.transform, self.seed = size, transform, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = np.random.default_rng([self.seed, index])
        shown = random.choice(len(self.photos), size=2)
        pair = np.hstack([self._crop(self.photos[photo], random) for photo in shown])
        target = torch.zeros(len(LABELS))
        target[shown] = 1
        return self.transform(image=pair)["image"], target

    def _crop(self, photo: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        height, width = photo.shape[:2]
        top, left = random.integers(0, height - 250), random.integers(0, width - 250)
        return photo[top : top + 250, left : left + 250]


class MultiLabel(lightning.LightningModule):
    """As most projects write it: the timm network is an attribute, and its hyperparameters are saved with it."""

    def __init__(self, architecture: str, labels: list[str], learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.model = timm.create_model(architecture, pretrained=False, num_classes=len(labels))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        images, targets = batch
        return binary_cross_entropy_with_logits(self.model(images), targets)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        images, targets = batch
        self.log("loss", binary_cross_entropy_with_logits(self.model(images), targets), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


def train(directory: Path, epochs: int, size: int) -> Path:
    """Returns the best .ckpt."""
    lightning.seed_everything(0, verbose=False)
    best = ModelCheckpoint(directory, filename="best", monitor="loss", enable_version_counter=False)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[best],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        MultiLabel(ARCHITECTURE, list(LABELS)),
        DataLoader(Pairs(size, TRAINING, seed=1), batch_size=8, shuffle=True),
        DataLoader(Pairs(size // 4, VALIDATION, seed=2), batch_size=8),
    )
    print(f"trained    {epochs} epochs, loss {float(trainer.callback_metrics['loss']):.3f}")
    return Path(best.best_model_path)


def package(checkpoint: Path, archive: Path) -> None:
    """Runs the command line that docs/packaging.md describes."""
    pipeline = archive.parent / "validation_pipeline.json"
    A.save(VALIDATION, pipeline)
    command = [sys.executable, "scripts/build_archive.py", "--checkpoint", str(checkpoint), "--name", archive.stem]
    command += ["--preprocessing", str(pipeline), "--output", str(archive), "--force"]
    command += ["--golden", *(str(PHOTOS / name) for name in LABELS.values())]
    print(f"$ {shlex.join(command)}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "lightning", help="default: build/lightning")
    parser.add_argument("--epochs", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--size", type=int, default=96, help="training images in an epoch (default: %(default)s)")
    options = parser.parse_args()
    directory = options.output.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint = train(directory, options.epochs, options.size)
    package(checkpoint, directory / "photos.mar")
    print(f"serve it with: make serve ARCHIVE={directory / 'photos.mar'}")


if __name__ == "__main__":
    main()
