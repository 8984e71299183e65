"""How pytest ends when it is told to."""

import signal
from types import FrameType

import pytest


def end_in_order_on_sigterm(session: pytest.Session) -> None:
    """SIGTERM then does what Ctrl-C does: the fixtures are torn down, and so stop the servers that they started. These
    run in sessions of their own, and would outlive a pytest that dies at once. Only the first one counts: another must
    not cut the stop short."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        session.shouldstop = "SIGTERM"  # at the latest after a test that expects an interrupt and takes this one for it
        raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)
