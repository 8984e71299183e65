"""The markers of a JPEG, read before a pixel is decoded: they tell what decoding it costs.

ITU-T T.81, B.1.1: a marker is 0xff and a byte. In coded data 0xff is followed by 0 or by a restart marker.
"""

import re
from dataclasses import dataclass

from handler.errors import TooCostly, UnsupportedImage

END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
# Any marker but those without a meaning here: 0xff 0 in coded data, restart, start of image, TEM. A run of 0xff may
# stand before a marker; a pattern for the run would take quadratic time.
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
SEQUENTIAL = {0xC0, 0xC1}  # frames that are decoded line by line where one scan has all components
ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # frames of a coding that takes several times as long
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7} | ARITHMETIC
# Those that a length follows. libjpeg passes over any other, so a length must not hide what stands behind it.
WITH_LENGTH = {*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE}
# Each scan passes over the whole image, and one of a few bytes is valid. Encoders write about ten.
MAX_SCANS = 100
MAX_SCANNED = 600_000_000  # pixels, in all scans together: 12 scans of 50 megapixels
# Tables, comments, profiles and scans. A profile of 16 MB, the largest that fits, has 255.
MAX_SEGMENTS = 2000


@dataclass(frozen=True)
class Scans:
    """How often a decoder passes over an image."""

    count: int = 0
    buffered: bool = False  # whether it keeps the coefficients of the whole image

    def check(self, width: int, height: int) -> None:
        """Raises TooCostly where they are too many for an image of this size."""
        if self.count * width * height > MAX_SCANNED:
            most = MAX_SCANNED // (width * height)
            raise TooCostly(
                f"The JPEG is {width} x {height} and has {self.count} scans, more than {most} for this size."
            )


def read_scans(content: bytes) -> Scans:
    """Raises TooCostly for more scans or segments than a decoder should have to read, and UnsupportedImage for
    arithmetic coding."""
    place = count = components = 0
    buffered = False
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(content, place)
        if found is None or found[1][0] == END_OF_IMAGE:
            return Scans(count, buffered)
        marker, place = found[1][0], found.end()
        if marker in ARITHMETIC:
            raise UnsupportedImage("A JPEG with arithmetic coding is not supported. Send one with Huffman coding.")
        if marker in FRAMES:
            components = _byte(content, place + 7)
            buffered = marker not in SEQUENTIAL
        if marker == START_OF_SCAN:
            count += 1
            buffered |= count > 1 or _byte(content, place + 2) < components
            if count > MAX_SCANS:
                raise TooCostly(f"The JPEG has more than {MAX_SCANS} scans.")
        if marker in WITH_LENGTH:
            # The length counts itself, and not the marker.
            place += max(2, int.from_bytes(content[place : place + 2], "big"))
    raise TooCostly(f"The JPEG has more than {MAX_SEGMENTS} segments.")


def _byte(content: bytes, place: int) -> int:
    return content[place] if place < len(content) else 0
