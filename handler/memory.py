"""The memory that decoding takes, and the room for it that the threads of a worker share.

tests/handler/test_memory.py measures the constants.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from handler.errors import TooCostly
from handler.settings import Limits

DECODING = "DECODING_MEMORY"  # the variable that gives a worker its bytes; scripts/server/budget.py computes them

# The most bytes for a pixel. The worst case is a WebP with alpha.
OTHER = 21
JPEG = 11  # of one as it is decoded, which may be smaller than it is stored
# libjpeg may keep the coefficients of the whole image: two bytes for each of at most four samples.
COEFFICIENTS = 8


class Room:
    """A number of bytes. Whoever needs more than is left waits."""

    def __init__(self, size: int) -> None:
        self.size = self._left = size
        self._freed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Raises TooCostly where it needs more than there is."""
        if amount > self.size:
            raise TooCostly(f"The image needs {amount >> 20} MiB to be decoded, and this server has {self.size >> 20}.")
        with self._freed:
            self._freed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._freed:
                self._left += amount
                self._freed.notify_all()


def decoding_memory(limits: Limits, scaled: bool) -> int:
    """Bytes for the most costly image that the limits allow, and so for many ordinary ones. scaled: whether a JPEG may
    be decoded smaller."""
    jpeg = COEFFICIENTS + JPEG / (4 if scaled else 1)
    return round(max(OTHER * min(limits.max_pixels, limits.max_pixels_other), jpeg * limits.max_pixels))


def jpeg_memory(stored: int, decoded: int, buffered: bool) -> int:
    """Bytes for a JPEG of so many pixels in the file, and so many as it is decoded. buffered: as jpeg.Scans has it."""
    return JPEG * decoded + (COEFFICIENTS * stored if buffered else 0)
