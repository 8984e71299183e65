"""Image bytes → RGB pixels, [H, W, 3] uint8.

Every guard that can be decided from the header is decided before a pixel is decoded.
"""

import math
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.errors import (
    CorruptImage,
    ExtremeAspectRatio,
    NotAnImage,
    TooManyBytes,
    TooManyPixels,
    UnsupportedImage,
)
from handler.formats import FORMATS, SIGNATURES
from handler.settings import Limits

# Pillow's warnings about a client's file belong in the answer, not in the log.
warnings.filterwarnings("ignore", module="PIL")

Result = TypeVar("Result")

UNSUPPORTED = ("F", "I", "LAB")  # Pillow's modes of float and 32-bit samples, whose white is anywhere, and of Lab
# The most that decoding takes, for each thread. The worst case is a WebP with alpha that must be turned.
BYTES_A_PIXEL = 36
MARGIN = 1.75  # scaled decoding leaves so many times the pixels that are needed: docs/performance.md compares values
ORIENTATION = 0x0112  # the EXIF tag
# What to do with the stored pixels for each value of the EXIF tag (EXIF 2.32, 4.6.4 A).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(payload: bytes, limits: Limits, shortest_side: int | None = None) -> NDArray[np.uint8]:
    """Returns upright RGB pixels, [H, W, 3] uint8, of the first frame.

    shortest_side: pixels that the pipeline needs of the shorter side. A JPEG is then decoded at a half, a quarter or an
    eighth of its size, as long as MARGIN times that many pixels are left. This costs a fraction (libjpeg's scaled DCT).

    Transparent pixels are laid on white. Samples of 16 bits are scaled to 8. CMYK is converted without its profile.
    Raises TooManyBytes, NotAnImage, UnsupportedImage, CorruptImage, TooManyPixels or ExtremeAspectRatio.
    """
    if len(payload) > limits.max_image_bytes:
        raise TooManyBytes(f"The image has more than {limits.max_image_bytes} bytes.")
    try:
        image = _or_corrupt(lambda: Image.open(BytesIO(payload), formats=tuple(FORMATS)))
    except CorruptImage:
        if not SIGNATURES.match(payload):
            raise NotAnImage from None
        raise
    with image:
        _check_size(image.size, limits)
        if shortest_side is not None:
            # Other formats ignore it.
            side = math.ceil(MARGIN * shortest_side)
            image.draft(None, (side, side))
        _or_corrupt(image.load)
        if image.mode in UNSUPPORTED:
            raise UnsupportedImage("Samples of 32 bits and Lab colours are not supported. Send 8 or 16 bits a sample.")
        upright = _or_corrupt(lambda: _upright(image))
        return _or_corrupt(lambda: _rgb(upright))


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"The image is {width} x {height}, more than {limits.max_pixels} pixels.")
    if max(size) > limits.max_aspect_ratio * min(size):
        raise ExtremeAspectRatio(
            f"The image is {width} x {height}; one side may be {limits.max_aspect_ratio:g} times the other at the most."
        )


def _or_corrupt(read: Callable[[], Result]) -> Result:
    """Pillow's decoders raise nearly any exception on a broken file; what they raise is the file's fault."""
    try:
        return read()
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels("The image has too many pixels.") from None
    except Exception:
        raise CorruptImage from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # a broken EXIF block must not hide a good picture
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):  # grey; Pillow itself would clip these, not scale them
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
