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

from handler.errors import LoadError
from handler.preprocess import make_pipeline
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
def test_timms_own_transform(
    architecture: str, kwargs: dict[str, Any], size: tuple[int, int] | None, shape: Any
) -> None:
    """Against timm's with Pillow's box filter, which is what area averaging is; square, as the two round the longer
    side of others differently."""
    network = timm.create_model(architecture, pretrained=False, num_classes=2, **kwargs)
    serialized = json.loads(json.dumps(pipeline_from_timm(network, size, "here")))
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
    area = pipeline_from_timm(network, None, "here")
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
    with pytest.raises(LoadError, match=r"border crop .* expected an albumentations pipeline"):
        pipeline_from_timm(network, None, "recipe")
