"""What decoding takes, and the room for it."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from samples import wait_for

from handler.errors import TooCostly
from handler.memory import COEFFICIENTS, JPEG, OTHER, Room, decoding_memory, jpeg_memory
from handler.settings import Limits


@pytest.mark.slow
def test_decoding_stays_within_its_bounds() -> None:
    """For each thread, however many images a batch has: docs/operations.md says what a worker takes in all."""
    script = Path(__file__).with_name("peak_memory.py")
    done = subprocess.run([sys.executable, script, "2"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(found)
    assert len(found) == 11
    assert {name: each for name, each in found.items() if each[0] > each[1]} == {}
    for bound in (JPEG, JPEG + COEFFICIENTS, OTHER):
        assert max(taken for taken, of in found.values() if of == bound) > bound / 2, "the bound says nothing"


def test_who_needs_more_than_is_left_waits() -> None:
    room = Room(10)
    entered: list[str] = []
    leave = threading.Event()

    def use(name: str, amount: int) -> None:
        with room.take(amount):
            entered.append(name)
            leave.wait(60)

    with ThreadPoolExecutor(3) as pool:
        pool.submit(use, "first", 6)
        wait_for(lambda: entered == ["first"])
        pool.submit(use, "large", 10)
        pool.submit(use, "small", 4)
        wait_for(lambda: "small" in entered)
        assert "large" not in entered
        leave.set()
    assert sorted(entered) == ["first", "large", "small"]


def test_who_needs_more_than_there_is_is_refused() -> None:
    with (
        pytest.raises(TooCostly, match="needs 11 MiB to be decoded, and this server has 10"),
        Room(10 << 20).take(11 << 20),
    ):
        raise AssertionError


def test_what_the_most_costly_image_takes() -> None:
    def size(scaled: bool, **limits: int) -> int:
        return decoding_memory(Limits(**limits), scaled)

    assert size(True) == (COEFFICIENTS + JPEG / 4) * 50_000_000, "scaled at all, a JPEG has a quarter of its pixels"
    assert size(True, max_pixels_other=30_000_000) == OTHER * 30_000_000
    assert size(False) == (COEFFICIENTS + JPEG) * 50_000_000
    assert size(True, max_pixels=1_000_000) == OTHER * 1_000_000


def test_a_progressive_jpeg_keeps_its_coefficients() -> None:
    assert jpeg_memory(stored=64, decoded=1, buffered=False) == JPEG
    assert jpeg_memory(stored=64, decoded=1, buffered=True) == JPEG + 64 * COEFFICIENTS
