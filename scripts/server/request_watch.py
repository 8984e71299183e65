"""Watches the requests inside haproxy: ends those whose bodies come too slowly, and says when nobody is answered."""

import logging

from scripts.server.proxy import Proxy
from scripts.server.stall import Stall
from scripts.server.uploads import Uploads

logger = logging.getLogger("entrypoint")

UNREADY_AFTER = 15.0  # seconds without an answer; the longest batch of costly photos takes about as long
ENDED_AFTER = 60.0  # seconds at least
MARGIN = 15.0  # seconds after the longest responseTimeout, in which TorchServe replaces a worker that hangs


class StallError(Exception):
    """Nobody has been answered for so long that only a new start can help."""


class RequestWatch:
    def __init__(self, proxy: Proxy, body_timeout: float, response_timeout: float) -> None:
        """body_timeout: seconds that a body may take to arrive. response_timeout: the longest of the models'."""
        self._proxy = proxy
        self._uploads = Uploads(body_timeout)
        self._stall = Stall()
        self._longest = max(ENDED_AFTER, response_timeout + MARGIN)

    def look(self, able: bool, silent: bool) -> str | None:
        """That nobody is answered, or None. able: whether the models can answer, as far as is known. silent: whether
        Java doesn't even answer the management API.

        Raises StallError if it lasts, or OSError if haproxy is gone.
        """
        sessions = self._proxy.sessions()
        for slow in self._uploads.too_slow(sessions):
            logger.warning(f"ended a request whose body came too slowly: {slow.received} bytes since {slow.began}")
            self._proxy.end(slow)
        waiting = sum(session.in_server and not session.uploading for session in sessions)
        self._stall.look(able and (waiting > 0 or silent), self._proxy.answers())
        seconds = self._stall.seconds
        reason = f"no answer for {seconds:.0f} s: {waiting} requests wait{', and Java is silent' if silent else ''}"
        if seconds > self._longest:
            raise StallError(reason)
        return reason if seconds > UNREADY_AFTER else None
