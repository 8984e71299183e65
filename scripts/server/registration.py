"""A registration that is under way: TorchServe answers it when it has unpacked the archive."""

import threading

from scripts.server.client import ApiError, Client


class Registration:
    """Waits for the answer in a thread of its own, so that the caller can watch, and can be interrupted."""

    def __init__(self, client: Client, file: str, timeout: float) -> None:
        """timeout: seconds to wait for TorchServe's answer."""
        self._client = client
        self._file = file
        self._timeout = timeout
        self._error: ApiError | None = None
        # Not Thread.join: until Python 3.13, one that a Ctrl-C interrupts takes the thread for ended.
        self._over = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._ask, daemon=True).start()

    def done(self, seconds: float) -> bool:
        """Whether it is over, or is so within so many seconds."""
        return self._over.wait(seconds)

    @property
    def error(self) -> ApiError | None:
        """Why it failed, once it is over."""
        return self._error

    @property
    def unanswered(self) -> bool:
        """Whether TorchServe gave no answer, and so may register the archive still."""
        return self._error is not None and self._error.status is None

    def _ask(self) -> None:
        try:
            self._client.register(self._file, self._timeout)
        except ApiError as error:
            self._error = error
        finally:
            self._over.set()
