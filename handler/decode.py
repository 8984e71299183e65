"""Image bytes → RGB pixels, [H, W, 3] uint8.

Every guard that can be decided from the header is decided before a pixel is decoded.
"""

import logging
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.errors import (
    CorruptImage,
    ExtremeAspectRatio,
    ItemError,
    NotAnImage,
    TooCostly,
    TooManyBytes,
    TooManyPixels,
    UnsupportedImage,
)
from handler.formats import FORMATS, SIGNATURES, unread_format
from handler.jpeg import Scans, read_scans
from handler.memory import OTHER, Room, jpeg_memory
from handler.meter import Allowance, Meter
from handler.settings import Limits
from handler.tiff import check_tags

# What Pillow says of a client's file belongs in the answer, not in the log.
warnings.filterwarnings("ignore", module="PIL")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

Result = TypeVar("Result")

UNSUPPORTED = ("F", "I", "LAB")  # Pillow's modes of float and 32-bit samples, whose white is anywhere, and of Lab
STRIP = 1 << 20  # pixels that are brought into RGB at a time, which bounds the memory of the steps in between
MARGIN = 1.75  # scaled decoding leaves so many times the pixels that are needed: docs/performance.md compares values
ORIENTATION = 0x0112  # the EXIF tag
EXIF = ("exif", "Raw profile type exif")  # where Pillow has it
MAX_EXIF = 1 << 18  # bytes; a JPEG's is one segment of 64 kB
TILE_WIDTH, TILE_HEIGHT = 322, 323  # tags of a TIFF
JPEG_START = b"\xff\xd8\xff"
JPEG_FORMATS = ("JPEG", "MPO")  # Pillow's names; the first frame of an MPO is a JPEG
Turn = tuple[Image.Transpose, bool]
# For each value of the EXIF tag (EXIF 2.32, 4.6.4 A): what to do with the stored pixels, and whether their first row is
# then the last row or column.
UPRIGHT: dict[object, Turn] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False),
    3: (Image.Transpose.ROTATE_180, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, True),
    5: (Image.Transpose.TRANSPOSE, False),
    6: (Image.Transpose.ROTATE_270, True),
    7: (Image.Transpose.TRANSVERSE, True),
    8: (Image.Transpose.ROTATE_90, False),
}
SIDEWAYS = {5, 6, 7, 8}  # width and height change places


def decode(
    payload: bytes,
    limits: Limits,
    shortest_side: int | None = None,
    room: Room | None = None,
    allowance: Allowance | None = None,
) -> NDArray[np.uint8]:
    """Returns upright RGB pixels, [H, W, 3] uint8, of the first frame.

    shortest_side: pixels that the pipeline needs of the shorter side. A JPEG is then decoded at a half, a quarter or an
    eighth of its size, as long as MARGIN times that many pixels are left. This costs a fraction (libjpeg's scaled DCT).

    room: where the memory is taken from, if other threads decode at the same time.
    allowance: what is left of the request's processor time, if it has other images.

    Transparent pixels are laid on white. Samples of 16 bits are scaled to 8. CMYK is converted without its profile.
    Raises TooManyBytes, NotAnImage, UnsupportedImage, CorruptImage, TooManyPixels, ExtremeAspectRatio or TooCostly.
    """
    if len(payload) > limits.max_image_bytes:
        raise TooManyBytes(f"The image has more than {limits.max_image_bytes} bytes.")
    file = Meter(payload, allowance or Allowance(limits.max_decode_seconds))
    try:
        return _decode(file, payload, limits, shortest_side, room)
    finally:
        file.settle()


def _decode(
    file: Meter, payload: bytes, limits: Limits, shortest_side: int | None, room: Room | None
) -> NDArray[np.uint8]:
    scans = read_scans(payload) if payload.startswith(JPEG_START) else Scans()
    check_tags(payload)
    try:
        image = _or_corrupt(lambda: Image.open(file, formats=tuple(FORMATS)))
    except CorruptImage:
        if (name := unread_format(payload)) is not None:
            raise UnsupportedImage(f"{name} is not supported. Send the photo as a JPEG.") from None
        if not SIGNATURES.match(payload):
            raise NotAnImage from None
        raise
    with image:
        _check_size(image, limits)
        scans.check(*image.size)
        stored = image.width * image.height
        if shortest_side is not None:
            # Other formats ignore it.
            side = math.ceil(MARGIN * shortest_side)
            image.draft(None, (side, side))
        with room.take(_memory(image, stored, scans)) if room is not None else nullcontext():
            _or_corrupt(image.load)
            if image.mode in UNSUPPORTED:
                raise UnsupportedImage("Samples of 32 bits and Lab colours are not supported. Send 8 or 16 bits each.")
            return _or_corrupt(lambda: _upright_rgb(image))


def _memory(image: Image.Image, stored: int, scans: Scans) -> int:
    decoded = image.width * image.height
    if image.format in JPEG_FORMATS:
        return jpeg_memory(stored, decoded, scans.buffered)
    return OTHER * max(decoded, math.prod(_tile(image)))


def _tile(image: Image.Image) -> tuple[int, int]:
    """Width and height of a TIFF's tiles, which are decoded whole and may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    sides = (tags.get(TILE_WIDTH, 1), tags.get(TILE_HEIGHT, 1))
    return sides if all(isinstance(side, int) for side in sides) else (1, 1)


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    is_jpeg = image.format in JPEG_FORMATS
    most = limits.max_pixels if is_jpeg else min(limits.max_pixels, limits.max_pixels_other)
    kind = "JPEG" if is_jpeg else FORMATS[str(image.format)][0]
    hint = "" if most == limits.max_pixels else f" A JPEG may have {limits.max_pixels}."
    for what, (across, down) in ((f"The {kind}", image.size), (f"A tile of the {kind}", _tile(image))):
        if across * down > most:
            raise TooManyPixels(f"{what} is {across} x {down}, more than {most} pixels.{hint}")
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise ExtremeAspectRatio(
            f"The image is {width} x {height}; one side may be {limits.max_aspect_ratio:g} times the other at the most."
        )


def _or_corrupt(read: Callable[[], Result]) -> Result:
    """Pillow's decoders raise nearly any exception on a broken file; what they raise is the file's fault."""
    try:
        return read()
    except (MemoryError, ItemError):
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels("The image has too many pixels.") from None
    except Exception:
        raise CorruptImage from None


def _orientation(image: Image.Image) -> object:
    if any(len(image.info.get(name) or "") > MAX_EXIF for name in EXIF):
        raise TooCostly(f"The EXIF data has more than {MAX_EXIF} bytes.")
    try:
        return image.getexif().get(ORIENTATION)
    except (MemoryError, ItemError):
        raise
    except Exception:  # a broken EXIF block must not hide a good picture
        return None


def _upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Converts and turns the stored pixels in strips of whole rows."""
    orientation = _orientation(image)
    turn = UPRIGHT.get(orientation)
    width, height = image.size
    rows = max(1, STRIP // width)
    if rows >= height:
        return _turned(image, turn)
    pixels = np.empty((width, height, 3) if orientation in SIDEWAYS else (height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = _turned(image.crop((0, top, width, bottom)), turn)
        place = slice(height - bottom, height - top) if turn is not None and turn[1] else slice(top, bottom)
        pixels[(slice(None), place) if orientation in SIDEWAYS else place] = strip
    return pixels


def _turned(image: Image.Image, turn: Turn | None) -> NDArray[np.uint8]:
    return _rgb(image if turn is None else image.transpose(turn[0]))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):  # grey; Pillow itself would clip these, not scale them
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
