import pytest

from bench.costly import with_chunks, with_extensions
from handler import meter
from handler.decode import decode
from handler.errors import TooCostly
from handler.meter import Allowance, Meter
from handler.settings import Limits


class Clock:
    """In the place of `time`: each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def thread_time(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meter, "time", clock)
    return clock


def test_a_file_is_read_as_any_other_until_the_time_is_over(clock: Clock) -> None:
    file = Meter(b"abcdef", Allowance(3.5))
    assert (file.read(1), file.read(2)) == (b"a", b"bc")
    with pytest.raises(TooCostly, match=r"take more than 3\.5 s to decode"):
        file.read()


def test_what_one_file_took_the_next_lacks(clock: Clock) -> None:
    allowance = Allowance(3.5)
    file = Meter(b"a", allowance)
    file.settle()
    assert allowance.left == 1.5
    Meter(b"a", allowance)
    allowance.left = 0.5
    with pytest.raises(TooCostly):
        Meter(b"a", allowance)


@pytest.mark.parametrize("content", [with_chunks(10_000), with_extensions(10_000)])
def test_pillows_own_loops_end(content: bytes, clock: Clock) -> None:
    with pytest.raises(TooCostly):
        decode(content, Limits(max_decode_seconds=100))
    assert clock.now < 110
