import json
import os
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from albumentations.pytorch import ToTensorV2
from samples import noise

from handler.errors import LoadError
from handler.preprocess import Resize, make_pipeline, probe, read_pipeline


def _serialize(*steps: Any) -> dict[str, Any]:
    serialized: dict[str, Any] = A.to_dict(A.Compose(list(steps)))
    return serialized


def test_same_tensor_as_the_pipeline_it_was_made_from(tmp_path: Path) -> None:
    steps = [A.Resize(64, 96), A.Normalize(), ToTensorV2()]
    (tmp_path / "preprocessing.json").write_text(json.dumps(_serialize(*steps)))
    pipeline, shape = read_pipeline(tmp_path)
    assert shape == (3, 64, 96)
    assert torch.equal(pipeline(noise()), A.Compose(steps)(image=noise())["image"])


def test_without_to_tensor() -> None:
    pipeline = make_pipeline(_serialize(A.Resize(32, 32), A.Normalize()), "here")
    with_tensor = make_pipeline(_serialize(A.Resize(32, 32), A.Normalize(), ToTensorV2()), "here")
    assert torch.equal(pipeline(noise()), with_tensor(noise()))


def test_never_asks_the_network_for_a_newer_version() -> None:
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([A.Resize(32, 32), ToTensorV2()], "gives torch.uint8, expected float32: put Normalize"),
        ([A.SmallestMaxSize(32), A.Normalize(), ToTensorV2()], "expected one shape (3, height, width)"),
        ([A.RandomCrop(32, 32), A.Normalize(), ToTensorV2()], "two runs differ, expected the deterministic"),
        ([A.CenterCrop(30, 40), A.Normalize(), ToTensorV2()], "can't take photos of less than 30 rows or 40 columns"),
        ([A.HorizontalFlip(p=1), A.Crop(1, 2, 30, 40), A.Normalize()], "photos of less than 40 rows or 30 columns"),
        ([A.Resize(20, 20), A.CenterCrop(30, 30), A.Normalize()], "fails on an image of 451 x 300"),
        ([A.Resize(32, 32), A.ToGray(num_output_channels=1, p=1), A.Normalize(0.5, 0.5), ToTensorV2()], "one channel"),
        (
            [A.Resize(32, 32), A.Normalize(normalization="image_per_channel"), ToTensorV2()],
            "gives torch.float64, expected float32: put ToFloat(max_value=1) after Normalize",
        ),
    ],
)
def test_pipelines_that_cannot_serve(steps: list[Any], message: str) -> None:
    with pytest.raises(LoadError) as caught:
        probe(make_pipeline(_serialize(*steps), "here"), "here")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "steps",
    [
        [A.Resize(32, 32), A.Normalize(normalization="image_per_channel"), A.ToFloat(max_value=1), ToTensorV2()],
        [A.CenterCrop(30, 40, pad_if_needed=True), A.Normalize(), ToTensorV2()],
        [A.PadIfNeeded(80, 80), A.CenterCrop(80, 80), A.Normalize(), ToTensorV2()],
        [A.Compose([A.Resize(40, 40)]), A.CenterCrop(32, 32), A.Normalize(), ToTensorV2()],
    ],
)
def test_the_cures_cure(steps: list[Any]) -> None:
    assert len(probe(make_pipeline(_serialize(*steps), "here"), "here")) == 3


def test_a_transform_that_never_applies_is_refused() -> None:
    """As a first resize it would tell how small a JPEG may be decoded."""
    serialized = _serialize(A.Resize(32, 32, p=0), A.SmallestMaxSize(64), A.CenterCrop(64, 64), A.Normalize())
    with pytest.raises(LoadError, match="Resize: p: 0, so it never applies; expected 1, or no Resize"):
        make_pipeline(serialized, "here")


def test_a_padding_that_no_small_photo_exceeds_is_found() -> None:
    serialized = _serialize(A.PadIfNeeded(512, 512), A.Normalize(), ToTensorV2())
    del serialized["transform"]["transforms"][0]["padding"]  # which albumentations writes and warns of when it reads
    with pytest.raises(LoadError, match=r"gives \(3, 512, 512\) and \[\(3, 1025, 1027\)\], expected one shape"):
        probe(make_pipeline(serialized, "here"), "here")


@pytest.mark.parametrize(
    "content",
    [[], {}, {"transform": {"__class_fullname__": "os.system"}}, {"transform": {}}, {"transform": None}],
)
def test_only_albumentations_transforms_are_made(content: object) -> None:
    with pytest.raises(LoadError, match="transform"):
        make_pipeline(content, "here")


@pytest.mark.parametrize("p", [None, 0.5, 0.999, "1"])
def test_every_transform_must_always_apply(p: object) -> None:
    """Of ten photos five would be flipped, and a check by trying could miss it."""
    serialized = _serialize(A.Resize(32, 32), A.HorizontalFlip(p=1), A.Normalize(), ToTensorV2())
    flip = serialized["transform"]["transforms"][1]
    if p is None:
        del flip["p"]
    else:
        flip["p"] = p
    with pytest.raises(LoadError, match=r"here: transform: HorizontalFlip: p: .*, expected 1: randomness belongs"):
        make_pipeline(serialized, "here")


def test_a_random_choice_between_certain_transforms_is_found() -> None:
    choice = A.OneOf([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], p=1)
    with pytest.raises(LoadError, match="two runs differ"):
        probe(make_pipeline(_serialize(A.Resize(32, 32), choice, A.Normalize(), ToTensorV2()), "here"), "here")


def test_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"preprocessing.json: missing"):
        read_pipeline(tmp_path)
    (tmp_path / "preprocessing.json").write_text("{")
    with pytest.raises(LoadError, match=r"preprocessing.json: not valid JSON"):
        read_pipeline(tmp_path)


def test_a_typo_in_an_argument_is_refused() -> None:
    """albumentations itself warns, and goes on without the argument."""
    serialized = _serialize(A.Resize(64, 96), A.Normalize(), ToTensorV2())
    serialized["transform"]["transforms"][0]["interpolatoin"] = 3
    with pytest.raises(LoadError, match="transform: Resize: interpolatoin: unknown, expected an argument of Resize"):
        make_pipeline(serialized, "here")


def test_pixels_are_left_alone() -> None:
    pixels = noise()
    before = pixels.copy()
    make_pipeline(_serialize(A.Normalize(), ToTensorV2()), "here")(pixels)
    assert np.array_equal(pixels, before)


def test_the_batch_is_normalised_to_the_same_bits() -> None:
    steps = [A.Resize(64, 96), A.Normalize(), ToTensorV2()]
    pipeline = make_pipeline(_serialize(*steps), "here")
    prepared = [pipeline.prepare(noise()), pipeline.prepare(np.full((64, 96, 3), 255, np.uint8))]
    assert [each.dtype for each in prepared] == [np.uint8] * 2
    whole = [A.Compose(steps)(image=pixels)["image"] for pixels in (noise(), np.full((64, 96, 3), 255, np.uint8))]
    assert torch.equal(pipeline.normalise(torch.from_numpy(np.stack(prepared))), torch.stack(whole))


@pytest.mark.parametrize(
    "steps",
    [
        [A.Resize(64, 96), A.Normalize(normalization="image"), ToTensorV2()],  # by what each image holds
        [A.Resize(64, 96), A.ToFloat(), A.Normalize(max_pixel_value=1), ToTensorV2()],
        [A.Resize(64, 96), A.Normalize(), A.HorizontalFlip(p=1), ToTensorV2()],
    ],
)
def test_what_can_not_be_put_off_is_done_for_each_image(steps: list[Any]) -> None:
    pipeline = make_pipeline(_serialize(*steps), "here")
    assert pipeline.prepare(noise()).dtype != np.uint8
    assert torch.equal(pipeline(noise()), A.Compose(steps)(image=noise())["image"])


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (A.SmallestMaxSize(64, area_for_downscale="image"), Resize(64, averages=True)),
        (A.SmallestMaxSize(64), Resize(64, averages=False)),
        (A.SmallestMaxSize([64, 96]), None),  # chooses one of them
        (A.LongestMaxSize(64, interpolation=cv2.INTER_AREA), Resize(64, averages=True)),
        (A.Resize(64, 96), Resize(96, averages=False)),
        (A.PadIfNeeded(64, 64), None),
    ],
)
def test_the_resize_that_a_scaled_decode_must_leave_enough_for(first: Any, expected: Resize | None) -> None:
    assert make_pipeline(_serialize(first, A.Normalize(), ToTensorV2()), "here").resize == expected
