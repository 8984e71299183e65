"""The memory that decoding takes, and the room for it that the threads of a worker share.

tests/handler/test_memory.py measures the constants.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from handler.settings import Limits

# The most bytes for a pixel. The worst case is a WebP with alpha.
OTHER = 21
JPEG = 11  # of one as it is decoded, which may be smaller than it is stored
# libjpeg may keep the coefficients of the whole image: two bytes for each of at most four samples.
COEFFICIENTS = 8


class Room:
    """A number of bytes. Whoever needs more than is left waits; whoever needs more than there is waits for all."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._freed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        amount = min(amount, self._size)
        with self._freed:
            self._freed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._freed:
                self._left += amount
                self._freed.notify_all()


def room_for_decoding(limits: Limits, scaled: bool) -> Room:
    """For the most costly image that the limits allow, and so for many ordinary ones. scaled: whether a JPEG may be
    decoded smaller."""
    jpeg = COEFFICIENTS + (0 if scaled else JPEG)
    return Room(max(OTHER * min(limits.max_pixels, limits.max_pixels_other), jpeg * limits.max_pixels))


def jpeg_memory(stored: int, decoded: int, buffered: bool) -> int:
    """Bytes for a JPEG of so many pixels in the file, and so many as it is decoded. buffered: as jpeg.Scans has it."""
    return JPEG * decoded + (COEFFICIENTS * stored if buffered else 0)
