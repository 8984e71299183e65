"""When nobody is answered, and how requests are told that are too slow themselves."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from scripts.server import request_watch
from scripts.server.request_watch import RequestWatch, StallError
from scripts.server.sessions import Session
from scripts.server.stall import Stall
from scripts.server.uploads import GRACE, LEAST_RATE, Uploads


def _stall(*looks: tuple[float, bool, int]) -> list[float]:
    stall, seconds = Stall(), []
    for now, waits, answers in looks:
        stall.look(waits, answers, now)
        seconds.append(stall.seconds)
    return seconds


def test_time_counts_only_while_somebody_waits_and_nobody_is_answered() -> None:
    assert _stall((0, True, 7), (9, True, 7), (20, True, 7)) == [0, 9, 20]
    assert _stall((0, True, 7), (9, True, 8), (20, True, 8)) == [0, 0, 11]
    assert _stall((0, False, 7), (9, False, 7), (10, True, 7)) == [0, 0, 1]
    assert _stall((0, True, 7), (9, False, 7), (11, True, 7)) == [0, 0, 2]


def _session(received: int, **changes: Any) -> Session:
    return replace(Session("0x1", "now", in_server=True, uploading=True, received=received), **changes)


def _ended(*looks: tuple[float, Session], longest: float = 60.0) -> list[bool]:
    uploads = Uploads(longest)
    return [bool(uploads.too_slow([session], now)) for now, session in looks]


def test_a_body_has_a_lowest_rate_after_a_grace() -> None:
    assert _ended((0, _session(0)), (GRACE, _session(0)), (GRACE + 1, _session(0))) == [False, False, True]
    half = LEAST_RATE // 2
    assert _ended(*((seconds, _session(half * seconds)) for seconds in (0, 10, 20, 21))) == [False, False, False, True]
    assert _ended(*((seconds, _session(LEAST_RATE * seconds)) for seconds in (0, 20, 50))) == [False] * 3


def test_a_body_has_a_limit_as_a_whole() -> None:
    fast = [(seconds, _session(10 * LEAST_RATE * seconds)) for seconds in (0, 30, 61)]
    assert _ended(*fast) == [False, False, True]
    assert _ended(*fast, longest=100.0) == [False] * 3


def test_only_a_body_that_holds_a_place_is_timed() -> None:
    for changes in ({"in_server": False}, {"uploading": False}):
        assert _ended((0, _session(0, **changes)), (100, _session(0, **changes))) == [False, False]
    assert _ended((0, _session(0, in_server=False)), (100, _session(0)), (105, _session(0))) == [False] * 3
    assert _ended((0, _session(0)), (100, _session(0, began="later"))) == [False, False], "haproxy used the id again"


class Doors:
    """Stands in for haproxy."""

    def __init__(self) -> None:
        self.requests: list[Session] = []
        self.ended: list[Session] = []

    def sessions(self) -> list[Session]:
        return self.requests

    def answers(self) -> int:
        return 0

    def end(self, session: Session) -> None:
        self.ended.append(session)


@pytest.fixture
def doors() -> Doors:
    return Doors()


@pytest.fixture
def watch(doors: Doors) -> RequestWatch:
    return RequestWatch(doors, body_timeout=60, response_timeout=60)  # type: ignore[arg-type]


def _wait(watch: RequestWatch, seconds: float) -> None:
    """As if so many had gone by."""
    watch._stall._since -= seconds


def test_a_stall_is_said_and_then_ends_it_all(watch: RequestWatch, doors: Doors) -> None:
    assert watch.look(able=True, silent=False) is None
    doors.requests = [_session(9, uploading=False), _session(9, in_server=False), _session(9)]
    assert watch.look(able=True, silent=False) is None
    _wait(watch, request_watch.UNREADY_AFTER)
    assert str(watch.look(able=True, silent=False)).startswith("no answer for 15 s: 1 requests wait")
    _wait(watch, 75 - request_watch.UNREADY_AFTER)
    with pytest.raises(StallError, match="no answer for 75 s"):
        watch.look(able=True, silent=False)


def test_what_is_no_stall(watch: RequestWatch, doors: Doors) -> None:
    doors.requests = [_session(9, uploading=False)]
    watch.look(able=True, silent=False)
    _wait(watch, 1000)
    assert watch.look(able=False, silent=False) is None, "the workers load"
    doors.requests = [_session(9)]
    _wait(watch, 1000)
    assert watch.look(able=True, silent=False) is None, "nobody waits for an answer"


def test_a_silent_java_is_a_stall_though_nobody_asks(watch: RequestWatch) -> None:
    watch.look(able=True, silent=True)
    _wait(watch, 75)
    with pytest.raises(StallError, match="Java is silent"):
        watch.look(able=True, silent=True)


def test_a_slow_body_is_ended_and_logged(
    watch: RequestWatch, doors: Doors, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    doors.requests = [_session(5)]
    watch.look(able=True, silent=False)
    assert doors.ended == []
    key, (begun, before) = watch._uploads._begun.popitem()
    watch._uploads._begun[key] = (begun - GRACE - 1, before)
    watch.look(able=True, silent=False)
    assert doors.ended == doors.requests
    assert "body came too slowly: 5 bytes since now" in caplog.text
