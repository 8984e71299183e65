"""Threads that run while a block runs."""

import threading

import pytest

from scripts.server.background import Background


class Counting(Background):
    def __init__(self) -> None:
        super().__init__(self._wait, self._wait)
        self.ended = 0
        self._lock = threading.Lock()

    def _wait(self) -> None:
        self._over.wait()
        with self._lock:
            self.ended += 1


def test_they_run_until_the_block_ends() -> None:
    with Counting() as counting:
        assert counting.running()
        assert counting.ended == 0
    assert not counting.running()
    assert counting.ended == 2


def test_they_end_also_when_the_block_fails() -> None:
    counting = Counting()
    with pytest.raises(ValueError, match="x"), counting:
        raise ValueError("x")
    assert counting.ended == 2
