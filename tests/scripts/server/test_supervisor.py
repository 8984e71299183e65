"""Starting, watching and stopping, with small Python processes for children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from scripts.server.process_group import stop_group
from scripts.server.supervisor import STOP_SIGNALS, ChildEndedError, Supervisor

WAITS = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
EVENTS: list[str] = []


class Process:
    """A child that writes into EVENTS what is done with it."""

    def __init__(self, name: str, program: str = WAITS) -> None:
        self.name = name
        self.program = program
        self.graces: list[float] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        EVENTS.append(f"start {self.name}")
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", self.program], stdout=subprocess.PIPE, start_new_session=True
        )
        if self.program == DEAF:
            assert self.process.stdout is not None
            self.process.stdout.readline()

    def ended(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def stop(self, grace: float) -> bool:
        EVENTS.append(f"stop {self.name}")
        self.graces.append(grace)
        if self.process is None:
            return True
        assert self.process.stdout is not None
        self.process.stdout.close()
        return stop_group(self.process, grace)


def _signal_us(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What a Supervisor installs stays: in a script nothing comes after it."""
    EVENTS.clear()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # pytest's own may be ignored, under nohup
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_loop_and_the_last_started_is_stopped_first(number: int) -> None:
    supervisor = Supervisor()
    first, second = Process("first"), Process("second")
    supervisor.start("first", first, 30)
    supervisor.start("second", second, 30)
    assert supervisor.running(0)
    _signal_us(number)
    assert not supervisor.running(600)
    assert not supervisor.running(600), "it stays asked"
    assert supervisor.stop() == []
    assert EVENTS == ["start first", "start second", "stop second", "stop first"]
    assert first.ended() == second.ended() == -signal.SIGTERM


def test_a_signal_wakes_the_loop_that_waits() -> None:
    supervisor = Supervisor()
    signal.signal(signal.SIGALRM, lambda *_: _signal_us())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert not supervisor.running(600)


def test_nothing_is_started_once_a_stop_is_asked_for() -> None:
    supervisor = Supervisor()
    _signal_us()
    supervisor.start("late", Process("late"), 30)
    assert not supervisor.running(600)
    assert supervisor.stop() == []
    assert EVENTS == []


def test_a_signal_that_arrives_while_a_child_starts_leaves_none_behind() -> None:
    class Slow(Process):
        def start(self) -> None:
            _signal_us()
            super().start()

    supervisor = Supervisor()
    slow = Slow("slow")
    supervisor.start("slow", slow, 30)
    supervisor.start("next", Process("next"), 30)
    assert not supervisor.running(600)
    supervisor.stop()
    assert EVENTS == ["start slow", "stop slow"]
    assert slow.ended() == -signal.SIGTERM


def test_further_signals_do_not_cut_the_stop_short() -> None:
    class Nervous(Process):
        def stop(self, grace: float) -> bool:
            for number in STOP_SIGNALS:
                _signal_us(number)
            return super().stop(grace)

    supervisor = Supervisor()
    children = [Nervous("first"), Nervous("second")]
    for child in children:
        supervisor.start(child.name, child, 30)
    _signal_us()
    assert supervisor.stop() == []
    assert [child.ended() for child in children] == [-signal.SIGTERM] * 2


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(7)", 7), ("", 0), (WAITS, -signal.SIGKILL)])
def test_a_child_that_ends_by_itself_is_named_with_its_code(program: str, code: int) -> None:
    supervisor = Supervisor()
    healthy, short = Process("healthy"), Process("short", program)
    supervisor.start("healthy", healthy, 30)
    supervisor.start("short", short, 30)
    assert short.process is not None
    if program == WAITS:
        short.process.kill()
    short.process.wait(60)
    with pytest.raises(ChildEndedError, match=f"^short ended by itself with code {code}$") as raised:
        supervisor.running(0)
    assert (raised.value.name, raised.value.code) == ("short", code)
    assert supervisor.stop() == []
    assert healthy.ended() == -signal.SIGTERM


def test_a_stop_that_was_asked_for_comes_before_a_child_that_ended() -> None:
    """A machine that shuts down sends SIGTERM to all processes at once."""
    supervisor = Supervisor()
    short = Process("short", "")
    supervisor.start("short", short, 30)
    assert short.process is not None
    short.process.wait(60)
    _signal_us()
    assert not supervisor.running(0)
    supervisor.stop()


def test_a_start_that_fails_is_cleaned_up_with_those_before() -> None:
    class Broken(Process):
        def start(self) -> None:
            raise OSError("no such program")

    supervisor = Supervisor()
    first = Process("first")
    supervisor.start("first", first, 30)
    with pytest.raises(OSError, match="no such program"):
        supervisor.start("broken", Broken("broken"), 30)
    supervisor.stop()
    assert EVENTS == ["start first", "stop broken", "stop first"]
    assert first.ended() == -signal.SIGTERM


def test_a_stop_that_fails_leaves_the_others_no_longer() -> None:
    class Broken(Process):
        def stop(self, grace: float) -> bool:
            super().stop(grace)
            raise OSError("no permission")

    supervisor = Supervisor()
    first = Process("first")
    supervisor.start("first", first, 30)
    supervisor.start("broken", Broken("broken"), 30)
    with pytest.raises(OSError, match="no permission"):
        supervisor.stop()
    assert EVENTS[2:] == ["stop broken", "stop first"]
    assert first.ended() == -signal.SIGTERM


def test_who_does_not_stop_in_time_is_killed_and_named() -> None:
    supervisor = Supervisor()
    deaf, good = Process("deaf", DEAF), Process("good")
    supervisor.start("deaf", deaf, 0.1)
    supervisor.start("good", good, 30)
    assert supervisor.stop() == ["deaf"]
    assert deaf.ended() == -signal.SIGKILL


def test_the_graces_count_from_the_signal_and_the_first_to_stop_pays_for_a_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stopped(Process):
        def start(self) -> None: ...

        def stop(self, grace: float) -> bool:
            now[0] += 4
            return super().stop(grace)

    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    supervisor = Supervisor()
    java, proxy = Stopped("java"), Stopped("proxy")
    supervisor.start("java", java, 5)
    supervisor.start("proxy", proxy, 25)
    _signal_us()
    now[0] += 10
    supervisor.stop()
    assert proxy.graces == [15]
    assert java.graces == [5], "its own grace, though more is left"
    assert supervisor.stop() == [], "twice is no error"
    assert len(proxy.graces) == 1


def test_nohup_is_respected_and_a_background_job_can_be_interrupted() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor = Supervisor()
    _signal_us(signal.SIGHUP)
    assert supervisor.running(0)
    _signal_us(signal.SIGINT)
    assert not supervisor.running(600)
