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
        self._costliest = 0.0  # of the images so far
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Takes what the costliest image so far took, as the next may be another of its kind, and returns it. Raises
        TooCostly where less is left."""
        with self._lock:
            if self.left <= 0 or self.left < self._costliest:
                raise self.exceeded()
            self.left -= self._costliest
            return self._costliest

    def settle(self, reserved: float, seconds: float) -> None:
        """Takes what an image really took."""
        with self._lock:
            self.left += reserved - seconds
            self._costliest = max(self._costliest, seconds)

    def exceeded(self) -> TooCostly:
        return TooCostly(f"The images of the request take more than {self.seconds:g} s to decode.")


class Meter(BytesIO):
    """A file in memory. Raises TooCostly on a read when the thread that made it has spent what was left.

    Pillow reads a file in pieces, at most 64 kB at a time, in its loops over chunks and between calls of a decoder. So
    it stops where the limits by size did not foresee the cost. What is read at once, as a WebP is, they must bound.
    """

    def __init__(self, content: bytes, allowance: Allowance) -> None:
        """Raises TooCostly where too little is left to begin with."""
        super().__init__(content)
        self._allowance = allowance
        self._reserved = allowance.reserve()
        self._start = time.thread_time()
        self._end = self._start + self._reserved + allowance.left

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise self._allowance.exceeded()
        return super().read(size)

    def settle(self) -> None:
        """Takes what was spent from the allowance. Call it once, in the same thread."""
        self._allowance.settle(self._reserved, time.thread_time() - self._start)
