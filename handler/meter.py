"""What the images of one request may take of a processor to be decoded, and files that keep to it."""

import threading
import time
from io import BytesIO

from handler.errors import TooCostly


class Allowance:
    """Seconds of processor time that the images of a request may take together, in whatever threads."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.left = seconds
        self._lock = threading.Lock()

    def spend(self, seconds: float) -> None:
        with self._lock:
            self.left -= seconds


class Meter(BytesIO):
    """A file in memory. Raises TooCostly on a read when the thread that made it has spent what was left.

    Pillow reads a file in pieces, at most 64 kB at a time, in its loops over chunks and between calls of a decoder. So
    it stops where the limits by size did not foresee the cost. What is read at once, as a WebP is, they must bound.
    """

    def __init__(self, content: bytes, allowance: Allowance) -> None:
        super().__init__(content)
        self._allowance = allowance
        self._start = time.thread_time()
        self._end = self._start + allowance.left
        self.read(0)

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise TooCostly(f"The images of the request take more than {self._allowance.seconds:g} s to decode.")
        return super().read(size)

    def settle(self) -> None:
        """Takes what was spent from the allowance. Call it once, in the same thread."""
        self._allowance.spend(time.thread_time() - self._start)
