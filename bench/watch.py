"""What an attack does to a server while it lasts: processor time, memory, what /ready says, and how a polite client
fares beside it."""

import time
from contextlib import suppress
from pathlib import Path

import psutil

from bench.targets import Target
from scripts.server.background import Background
from scripts.server.clients import Load, Question

SAMPLE = 0.1  # seconds between looks
PAUSE = 0.1  # seconds between the polite client's requests


class Watch(Background):
    """From when it is made to the end of the block."""

    def __init__(self, target: Target) -> None:
        super().__init__(self._look, self._ask)
        self._target = target
        self._seconds: dict[int, float] = {}  # by process: of processor time, as last seen
        self._memory: list[int] = []  # bytes
        self.ready: list[bool] = []  # what /ready said, in turn; nothing where there is none
        self._sample()
        self._before = dict(self._seconds)

    @property
    def processor(self) -> float:
        """Seconds of all processes."""
        return sum(seconds - self._before.get(process, 0) for process, seconds in self._seconds.items())

    @property
    def memory(self) -> int:
        """Bytes at the most, above those before."""
        return self.peak - self._memory[0]

    @property
    def peak(self) -> int:
        """Bytes at the most, of all processes."""
        return max(self._memory)

    def _look(self) -> None:
        while not self._over.wait(SAMPLE):
            self._sample()
        self._sample()

    def _ask(self) -> None:
        while not self._over.wait(2 * SAMPLE):
            self.ready.append(self._target.ready())

    def _sample(self) -> None:
        total = 0
        for process in self._target.processes():
            with suppress(psutil.Error, OSError):
                user, system, *_ = process.cpu_times()
                self._seconds[process.pid] = user + system
                total += _anonymous(process.pid)
        self._memory.append(total)


def _anonymous(process: int) -> int:
    """Bytes that are no pages of a file."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))  # one that ended has none


class Polite(Load):
    """One client that sends a photo, waits for the answer, and waits a little."""

    def __init__(self, url: str, question: Question) -> None:
        def ask(_: int) -> Question:
            time.sleep(PAUSE)
            return question

        super().__init__(url, 1, ask)

    def waits(self, since: float, until: float = float("inf")) -> list[float]:
        """Seconds of each answer for which it waited at some time between these, of time.monotonic(); infinite for a
        wrong one."""
        replies = [each for each in self.replies if each.started <= until and each.started + each.seconds >= since]
        return [reply.seconds if reply.right else float("inf") for reply in replies]
