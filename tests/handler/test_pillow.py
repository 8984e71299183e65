from typing import Any

import numpy as np
import pytest
from PIL import Image

from handler import pillow
from handler.pillow import INTERPOLATIONS, CropOrPad, PillowResize, resized


@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(64, 91), (64, 331), (203, 91), (203, 331), (500, 700), (1, 1)])
def test_in_strips_the_bits_are_pillows(monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]) -> None:
    monkeypatch.setattr(pillow, "STRIP", 4000)
    pixels = np.random.default_rng(0).integers(0, 256, (203, 331, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize(size[::-1], INTERPOLATIONS[name])
    assert np.array_equal(resized(pixels, *size, INTERPOLATIONS[name]), np.asarray(expected))


@pytest.mark.parametrize("wrong", [{"mode": "longest"}, {"interpolation": "area"}, {"height": "a"}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"height": 8, "width": 8, **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PillowResize(**arguments)


def test_what_is_missing_is_filled() -> None:
    cropped = CropOrPad(6, 5, fill=(1, 2, 3))(image=np.full((3, 9, 3), 9, np.uint8))["image"]
    assert cropped.shape == (6, 5, 3)
    assert (cropped[1:4] == 9).all()
    assert (cropped[[0, 4, 5]] == [1, 2, 3]).all()
