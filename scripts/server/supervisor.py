"""Child processes in one loop: started in order, watched, and stopped in the reverse order.

A signal handler that raises can do so between any two instructions, and so leave a child behind or skip a cleanup. Here
the handlers only queue the signals, and the loop that watches the children handles them.
"""

import contextlib
import signal
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(Protocol):
    """A process, or what starts one."""

    def start(self) -> None: ...

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""

    def stop(self, grace: float) -> bool:
        """Returns False if it had to be killed after `grace` seconds. Does nothing if it hasn't started."""


class ChildEndedError(Exception):
    """A child ended by itself."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended by itself with code {code}")
        self.name = name
        self.code = code  # as subprocess has it: negative for a signal


@dataclass(frozen=True)
class _Started:
    name: str
    child: Child
    grace: float


class Supervisor:
    """Create it in the main thread, before anything is started: from then on no stop signal is lost. Its methods belong
    to that thread, too, and stop() to a `finally`."""

    def __init__(self) -> None:
        self._started: list[_Started] = []
        self._signals: SimpleQueue[float] = SimpleQueue()  # times of arrival; a handler may interrupt its own put()
        self._asked: float | None = None  # when the first stop signal arrived
        for number in STOP_SIGNALS:
            # `nohup` ignores SIGHUP, and means it. A shell ignores SIGINT for what it runs in the background.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: self._signals.put(time.monotonic()))

    def start(self, name: str, child: Child, grace: float) -> None:
        """Starts a child, unless a stop has been asked for. grace: seconds that it may take to stop."""
        if self.stop_asked():
            return
        self._started.append(_Started(name, child, grace))  # before it starts: a start that fails is cleaned up, too
        child.start()

    def running(self, seconds: float) -> bool:
        """Returns False as soon as a stop is asked for, else True after so long. Raises ChildEndedError."""
        if self.stop_asked(seconds):
            return False
        for started in self._started:
            if (code := started.child.ended()) is not None:
                raise ChildEndedError(started.name, code)
        return True

    def stop_asked(self, seconds: float = 0.0) -> bool:
        """Whether a stop signal has arrived, or arrives within so many seconds."""
        if self._asked is None:
            try:
                self._asked = self._signals.get(timeout=seconds)
            except Empty:
                return False
        return True

    def stop(self) -> list[str]:
        """Stops the children, the last one first. Returns the names of those that had to be killed.

        All of it takes no longer than the sum of their graces, from the arrival of the signal. Further signals don't
        cut it short.
        """
        self.stop_asked()
        deadline = (self._asked or time.monotonic()) + sum(started.grace for started in self._started)
        killed: list[str] = []
        with contextlib.ExitStack() as stack:  # also if one can't be stopped
            for started in self._started:
                stack.callback(_stop, started, deadline, killed)
                deadline -= started.grace
        self._started.clear()
        return killed


def _stop(started: _Started, deadline: float, killed: list[str]) -> None:
    left = deadline - time.monotonic()
    if not started.child.stop(max(0.0, min(started.grace, left))):
        killed.append(started.name)
