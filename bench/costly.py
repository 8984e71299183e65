"""Small files that cost much to decode, made here and nowhere stored."""

import struct
import zlib
from io import BytesIO

from PIL import Image

Size = tuple[int, int]  # width, height
LARGE = (8160, 6120)  # just under 50 megapixels
MEDIUM = (4760, 3570)  # just under 17
SMALL = (2828, 2121)  # just under 6


def flat(mode: str, kind: str, size: Size, orientation: int | None = None, **options: object) -> bytes:
    """One colour, and so a file of a few bytes."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return _encoded(Image.new(mode, size), kind, exif=exif, **options)


def noisy(kind: str, size: Size, **options: object) -> bytes:
    """Every pixel of another colour."""
    return _encoded(Image.effect_noise(size, 80).convert("RGB"), kind, **options)


def with_scans(scans: int, size: Size = LARGE) -> bytes:
    """A progressive JPEG of one colour whose last scan comes again and again."""
    content = flat("RGB", "JPEG", size, progressive=True)
    last = content.rindex(b"\xff\xda")
    written = content.count(b"\xff\xda")
    return content[:-2] + content[last:-2] * (scans - written) + content[-2:]


def with_segments(segments: int) -> bytes:
    """A JPEG with so many empty comments."""
    content = flat("RGB", "JPEG", (16, 16))
    return content[:2] + b"\xff\xfe\x00\x02" * segments + content[2:]


def with_chunks(chunks: int) -> bytes:
    """A PNG with so many empty chunks that nobody knows."""
    content = flat("RGB", "PNG", (16, 16))
    chunk = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    return content[:33] + chunk * chunks + content[33:]


def with_extensions(extensions: int) -> bytes:
    """A GIF with so many empty comments before its picture."""
    content = flat("P", "GIF", (16, 16))
    first = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    return content[:first] + b"\x21\xfe\x00" * extensions + content[first:]


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
