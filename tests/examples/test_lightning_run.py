"""The Lightning run is trained and packaged by its own command; the archive loads as the server loads it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import timm
import torch
from samples import CHELSEA, PHOTOS
from skimage.io import imread

from handler.classifier import Classifier
from scripts.paths import ROOT


@pytest.mark.slow
def test_a_packaged_run_scores_as_the_trained_network_does(tmp_path: Path) -> None:
    command = [sys.executable, "examples/lightning_run.py", "--output", str(tmp_path), "--epochs", "1", "--size", "16"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"make serve ARCHIVE={tmp_path / 'photos.mar'}" in done.stdout
    with zipfile.ZipFile(tmp_path / "photos.mar") as mar:
        mar.extractall(tmp_path / "unpacked")

    classifier = Classifier.load(tmp_path / "unpacked", torch.device("cpu"))
    classifier.self_check(tmp_path / "unpacked")
    [scores] = classifier.classify([CHELSEA])
    assert isinstance(scores, np.ndarray)

    assert classifier.labels == ("cat", "cup", "face", "rocket")
    trained = torch.nn.ModuleDict({"model": timm.create_model("test_efficientnet", num_classes=4)}).eval()
    trained.load_state_dict(torch.load(tmp_path / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"])
    image = A.load(tmp_path / "validation_pipeline.json")(image=imread(PHOTOS / "chelsea.png"))["image"]
    with torch.inference_mode():
        np.testing.assert_allclose(scores, trained["model"](image[None])[0].sigmoid().numpy(), atol=1e-4)
