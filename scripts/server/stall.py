"""How long nobody has been answered."""

import time


class Stall:
    """Counts only while somebody waits for an answer that a model can give."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._answers: int | None = None
        self._since = 0.0

    def look(self, waits: bool, answers: int, now: float | None = None) -> None:
        """waits: whether an answer is due. answers: how many there have been so far. Call it every few seconds."""
        now = time.monotonic() if now is None else now
        if not waits or answers != self._answers:
            self._since = now
        self._answers = answers
        self.seconds = now - self._since
