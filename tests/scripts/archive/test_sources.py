import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from samples import PHOTOS, SHIFT
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torchvision.transforms._presets import ImageClassification

from handler.errors import LoadError
from handler.preprocess import make_pipeline
from scripts.archive.recipe import PRESETS
from scripts.archive.sources import (
    parse_image_size,
    pipeline_from_timm,
    read_thresholds_file,
)
from scripts.build_demo import feline_network


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.json", "[0.1, 0.2]"), ("t.yaml", "bee: 0.2\nant: 0.1\n"), ("t.json", '{\n\t"ant": 1e-1, "bee": 2e-01}')],
)
def test_threshold_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_thresholds_file(tmp_path / name, ("ant", "bee")).tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (384, (384, 384)),
        (384.0, (384, 384)),
        ("384", (384, 384)),
        ([384], (384, 384)),
        ((384, 384), (384, 384)),
        ([192, 384], (192, 384)),
        ((3, 192, 384), (192, 384)),
        ([192, 384, 3], (192, 384)),
        (None, None),
    ],
)
def test_image_sizes(given: Any, size: tuple[int, int] | None) -> None:
    assert parse_image_size(given, "best.pt") == size


@pytest.mark.parametrize(
    "given", ["large", 0, -1, 224.5, float("nan"), True, [], [1, 2, 3, 4], [192, 384, 5], [None], {"height": 384}]
)
def test_what_is_no_image_size_is_refused_by_name(given: Any) -> None:
    with pytest.raises(LoadError, match=r"^best.pt: image_size: .*, expected pixels: SIDE, \[HEIGHT, WIDTH\]"):
        parse_image_size(given, "best.pt: image_size")


@pytest.mark.parametrize(
    ("architecture", "kwargs", "size", "shape"),
    [
        ("tf_efficientnet_lite0", {}, None, (3, 224, 224)),
        ("resnet18", {}, (96, 96), (3, 96, 96)),
        ("resnet18", {}, (96, 160), (3, 96, 160)),
        ("vit_tiny_patch16_224", {"img_size": 80}, (80, 80), (3, 80, 80)),
        ("beit_base_patch16_224", {"depth": 1}, None, (3, 224, 224)),
    ],
)
def test_area_averaging_is_timms_transform_with_the_box_filter(
    architecture: str, kwargs: dict[str, Any], size: tuple[int, int] | None, shape: Any
) -> None:
    """Against timm's with Pillow's box filter, which is what area averaging is; square, as the two round the longer
    side of others differently."""
    network = timm.create_model(architecture, pretrained=False, num_classes=2, **kwargs)
    serialized = json.loads(json.dumps(pipeline_from_timm(network, size, "here", resize="area")))
    pixels = np.asarray(Image.open(PHOTOS / "chelsea.png").convert("RGB"))[:, 60:360]
    asked = {"input_size": (3, *size)} if size else {}
    config = resolve_data_config(asked, model=network)  # type: ignore[no-untyped-call]
    transform: Any = create_transform(**{**config, "interpolation": "box"})
    ours, expected = make_pipeline(serialized, "here")(pixels), transform(Image.fromarray(pixels))
    assert ours.shape == expected.shape == shape
    assert float((ours - expected).abs().mean()) < 0.04  # a shift by one pixel makes it 0.11


def test_area_averaging_is_nearer_to_timms_transform_than_opencvs_bicubic() -> None:
    """The choice that pipeline_from_timm makes, measured on the demo: docs/packaging.md gives these figures."""
    network = feline_network()
    area = pipeline_from_timm(network, None, "here", resize="area")
    bicubic = json.loads(json.dumps(area).replace('"image"', "null"))
    pipelines = [make_pipeline(serialized, "here") for serialized in (area, bicubic)]
    reference: Any = create_transform(**resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]
    logit_differences, score_differences = [], []
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"):
        photo = Image.open(PHOTOS / name).convert("RGB")
        for width in (451, 700, 1280, 2500):
            image = photo.resize((width, width * photo.height // photo.width), Image.Resampling.BICUBIC)
            ours = [pipeline(np.asarray(image)) for pipeline in pipelines]
            with torch.inference_mode():
                logits = network(torch.stack([reference(image), *ours]))
            scores = torch.sigmoid(logits - SHIFT)
            logit_differences.append((logits[1:] - logits[0]).abs().mean(dim=1))
            score_differences.append(float((scores[1] - scores[0]).abs().max()))
    by_area, by_bicubic = torch.stack(logit_differences).mean(dim=0).tolist()
    assert by_area < by_bicubic
    assert max(score_differences) < 0.07


def test_a_transform_without_counterpart_asks_for_a_pipeline() -> None:
    network = timm.create_model("test_vit", pretrained=False)
    cfg: Any = network.pretrained_cfg
    cfg["crop_mode"] = "border"
    with pytest.raises(LoadError, match=r"border crop .* an albumentations pipeline"):
        pipeline_from_timm(network, None, "recipe", resize="area")


PORTRAIT, SMALL = (1400, 700), (37, 50)


@pytest.mark.parametrize("shape", [PORTRAIT, (701, 1333), SMALL, (224, 224), (2400, 3200)])
@pytest.mark.parametrize("size", [None, (96, 96), (96, 160)])
@pytest.mark.parametrize(
    "transform",
    [
        {},
        {"interpolation": "bilinear", "crop_pct": 0.95},
        {"interpolation": "nearest"},
        {"interpolation": "lanczos", "crop_mode": "squash", "crop_pct": 1.0},
        {"crop_mode": "squash"},
        {"crop_mode": "border", "crop_pct": 0.9, "mean": [0.5, 0.4, 0.3]},
    ],
)
def test_timms_own_transform(shape: tuple[int, int], size: tuple[int, int] | None, transform: dict[str, Any]) -> None:
    network = timm.create_model("resnet18", pretrained=False, num_classes=2)
    photo = Image.open(PHOTOS / "chelsea.png").convert("RGB").resize(shape[::-1], Image.Resampling.BICUBIC)
    serialized = json.loads(json.dumps(pipeline_from_timm(network, size, "here", transform)))
    asked = {**transform, **({"input_size": (3, *size)} if size else {})}
    reference: Any = create_transform(**resolve_data_config(asked, model=network))  # type: ignore[no-untyped-call]
    ours, expected = make_pipeline(serialized, "here")(np.asarray(photo)), reference(photo)
    assert ours.shape == expected.shape
    assert float((ours - expected).abs().max()) < 1e-5  # a step of one of 256 is 0.017


def test_scores_are_timms() -> None:
    """With real weights, over photos of four sizes."""
    network = feline_network()
    pipeline = make_pipeline(pipeline_from_timm(network, None, "here"), "here")
    reference: Any = create_transform(**resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"):
        photo = Image.open(PHOTOS / name).convert("RGB")
        for width in (451, 2500):
            image = photo.resize((width, width * photo.height // photo.width), Image.Resampling.BICUBIC)
            with torch.inference_mode():
                ours, expected = torch.sigmoid(
                    network(torch.stack([pipeline(np.asarray(image)), reference(image)])) - SHIFT
                )
            assert float((ours - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("shape", [PORTRAIT, (701, 1333), (1024, 1024), SMALL])
def test_torchvisions_preset(shape: tuple[int, int]) -> None:
    preset = ImageClassification(crop_size=224, resize_size=256)
    photo = Image.open(PHOTOS / "chelsea.png").convert("RGB").resize(shape[::-1], Image.Resampling.BICUBIC)
    network = timm.create_model("resnet18", pretrained=False, num_classes=2)
    pipeline = make_pipeline(pipeline_from_timm(network, None, "here", PRESETS["torchvision"]), "here")
    assert float((pipeline(np.asarray(photo)) - preset(photo)).abs().max()) < 1e-5


def test_a_mean_of_bytes_is_refused() -> None:
    with pytest.raises(LoadError, match=r"mean: \[123.7, 116.3, 103.5\], expected numbers from 0 to 1"):
        pipeline_from_timm(timm.create_model("test_vit"), None, "here", {"mean": [123.7, 116.3, 103.5]})
