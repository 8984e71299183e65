"""Ends requests whose bodies come too slowly: each holds one of the few places that there are for bodies.

haproxy itself limits only the pause between two pieces: a client that sends a byte every 29 seconds would hold its
place for days.
"""

import time
from collections.abc import Iterable

from scripts.server.sessions import Session

GRACE = 10.0  # seconds in which any rate will do
LEAST_RATE = 32 * 1024  # bytes a second, from the moment when there was a place for the body


class Uploads:
    def __init__(self, longest: float) -> None:
        """longest: seconds that a body may take as a whole."""
        self._longest = longest
        self._begun: dict[tuple[str, str], tuple[float, int]] = {}  # when it was first seen, with how many bytes

    def too_slow(self, sessions: Iterable[Session], now: float | None = None) -> list[Session]:
        """Those that are to be ended. Call it every few seconds with all that there are."""
        now = time.monotonic() if now is None else now
        uploading = {(each.id, each.began): each for each in sessions if each.in_server and each.uploading}
        self._begun = {key: self._begun.get(key, (now, session.received)) for key, session in uploading.items()}
        return [session for key, session in uploading.items() if self._is_slow(session, *self._begun[key], now)]

    def _is_slow(self, session: Session, begun: float, before: int, now: float) -> bool:
        seconds = now - begun
        rate_is_low = session.received - before < LEAST_RATE * (seconds - GRACE)
        return seconds > self._longest or rate_is_low
