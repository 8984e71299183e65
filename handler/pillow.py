"""The resizes and crops of timm's and torchvision's evaluation transforms, to the bit, as transforms of albumentations.

These libraries resize with Pillow, which smooths before it skips pixels; OpenCV's interpolations do not. Their crops
round otherwise than albumentations'. Sources: torchvision.transforms.functional (resize, center_crop) and
timm.data.transforms (ResizeKeepRatio, CenterCropOrPad).
"""

from typing import Any, Literal

import numpy as np
from albumentations.core.transforms_interface import ImageOnlyTransform
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # [H, W, 3]
INTERPOLATIONS = {kind.name.lower(): kind for kind in Image.Resampling}
INTERPOLATION_NAMES = tuple(INTERPOLATIONS)
STRIP = 1 << 20  # pixels that Pillow gets at a time: it holds a copy of them, of four bytes each


class PillowResize(ImageOnlyTransform):  # type: ignore[misc]
    """Resizes as Pillow does.

    mode: `shorter`: the shorter side becomes `height` pixels, as torchvision's Resize(height); `cover` and `fit`: the
    photo covers, or fits into, height x width, as timm's ResizeKeepRatio; `exact`: height x width.
    """

    class InitSchema(ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        height: int
        width: int
        mode: Literal["shorter", "cover", "fit", "exact"]
        interpolation: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

    def __init__(
        self, height: int, width: int, mode: str = "shorter", interpolation: str = "bicubic", p: float = 1
    ) -> None:
        super().__init__(p=p)
        self.height, self.width, self.mode, self.interpolation = height, width, mode, interpolation

    @property
    def smooths(self) -> bool:
        """Whether each pixel that it gives is a mean of all those that it stands for."""
        return self.interpolation != "nearest"

    def apply(self, img: Pixels, **_: Any) -> Pixels:
        return resized(img, *self.size(*img.shape[:2]), INTERPOLATIONS[self.interpolation])

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what becomes of an image of this size."""
        if self.mode == "exact":
            return self.height, self.width
        if self.mode == "shorter":
            short, long = sorted((height, width))
            longer = int(self.height * long / short)
            return (self.height, longer) if height <= width else (longer, self.height)
        ratios = (height / self.height, width / self.width)
        # Written as timm does, for the same rounding.
        longest = float(self.mode == "fit")
        ratio = max(ratios) * longest + min(ratios) * (1.0 - longest)
        return round(height / ratio), round(width / ratio)


class CropOrPad(ImageOnlyTransform):  # type: ignore[misc]
    """The centre, height x width; what is missing is filled."""

    class InitSchema(ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        height: int
        width: int
        fill: tuple[int, int, int]

    def __init__(self, height: int, width: int, fill: tuple[int, int, int] = (0, 0, 0), p: float = 1) -> None:
        super().__init__(p=p)
        self.height, self.width, self.fill = height, width, fill

    def apply(self, img: Pixels, **_: Any) -> Pixels:
        missing = [max(0, wanted - given) for wanted, given in zip((self.height, self.width), img.shape, strict=False)]
        if any(missing):
            (top, left) = (lack // 2 for lack in missing)
            height, width = img.shape[0] + missing[0], img.shape[1] + missing[1]
            padded = np.empty((height, width, 3), np.uint8)
            padded[:] = self.fill
            padded[top : top + img.shape[0], left : left + img.shape[1]] = img
            img = padded
        # Python's round, as theirs: half to even.
        top, left = round((img.shape[0] - self.height) / 2), round((img.shape[1] - self.width) / 2)
        return np.ascontiguousarray(img[top : top + self.height, left : left + self.width])


def resized(pixels: Pixels, height: int, width: int, interpolation: Image.Resampling) -> Pixels:
    """The same bits as `Image.resize((width, height))`, which also does the rows before the columns, without a copy of
    the whole image."""
    rows = max(1, STRIP // pixels.shape[1])
    if pixels.shape[1] == width:
        narrow = pixels
    elif pixels.shape[0] <= rows:
        return _pillow(pixels, height, width, interpolation)
    else:
        narrow = np.empty((pixels.shape[0], width, 3), np.uint8)
        for top in range(0, pixels.shape[0], rows):
            strip = pixels[top : top + rows]
            narrow[top : top + rows] = _pillow(strip, strip.shape[0], width, interpolation)
    return narrow if narrow.shape[0] == height else _pillow(narrow, height, width, interpolation)


def _pillow(pixels: Pixels, height: int, width: int, interpolation: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height), interpolation))
