"""Ends the process when a batch hangs, after it has written where every thread is.

A server replaces a worker that has ended, and the clients can ask again. Its own limit for one that hangs is much
longer, as it knows nothing of the network.
"""

import faulthandler
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEAST = 10.0  # seconds: a machine may pause a process for some
PASSES = 50  # times what a pass of the warm-up took; on a busy machine it takes several times that
DECODING = 4  # times the processor time that the images of a batch may take, which on a busy machine is a part
MOST = 0.9  # of the server's own limit


class Watchdog:
    """One for the process, which answers one batch at a time."""

    def __init__(self, pass_seconds: float, batch_size: int, max_decode_seconds: float, server_limit: float) -> None:
        """pass_seconds: what the network took for `batch_size` images when it was warm. max_decode_seconds: processor
        time for the images of one request. server_limit: seconds."""
        self._pass_seconds, self._batch_size = pass_seconds, batch_size
        self._max_decode_seconds = max_decode_seconds
        self._most = MOST * server_limit

    def __str__(self) -> str:
        size = self._batch_size
        within, before = self._scoring(size), self._preparing(size)
        return (
            f"the network took {self._pass_seconds:.3f} s for {size} images; a batch that takes {within:.0f} s there, "
            f"or {before:.0f} s before it, ends the worker"
        )

    @contextmanager
    def preparing(self, requests: int) -> Iterator[None]:
        """While the images of so many requests are decoded and preprocessed."""
        with _ends_after(self._preparing(requests)):
            yield

    @contextmanager
    def scoring(self, images: int) -> Iterator[None]:
        """While the network classifies so many images."""
        with _ends_after(self._scoring(images)):
            yield

    def _preparing(self, requests: int) -> float:
        return self._bounded(DECODING * self._max_decode_seconds * requests)

    def _scoring(self, images: int) -> float:
        return self._bounded(PASSES * self._pass_seconds * math.ceil(images / self._batch_size))

    def _bounded(self, seconds: float) -> float:
        return min(max(seconds, LEAST), self._most)


@contextmanager
def _ends_after(seconds: float) -> Iterator[None]:
    # A thread of C watches, which needs no lock of Python's.
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
