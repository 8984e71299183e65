"""A registration that is under way: TorchServe answers it only when the workers are READY or have failed."""

import threading

from scripts.server.client import ApiError, Client


class Registration:
    """Asks for it in a thread of its own, so that the caller can watch, and can be interrupted."""

    def __init__(self, client: Client, file: str, timeout: float) -> None:
        """timeout: seconds to wait for TorchServe's answer."""
        self._client = client
        self._file = file
        self._timeout = timeout
        self._error: ApiError | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def done(self, seconds: float) -> bool:
        """Whether nothing is under way, or nothing any more within so many seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def error(self) -> ApiError | None:
        """Why it failed, once it is over."""
        return self._error

    @property
    def unanswered(self) -> bool:
        """Whether TorchServe never answered, and so may register the archive still."""
        return self._error is not None and self._error.status is None

    def _ask(self) -> None:
        try:
            self._client.register(self._file, self._timeout)
        except ApiError as error:
            self._error = error
