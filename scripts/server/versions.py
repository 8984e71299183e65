"""The versions of a model on a server, and waiting for what becomes of them."""

import time
from http import HTTPStatus
from typing import Any

from scripts.archive.manifest import natural
from scripts.server.client import ApiError, Client
from scripts.server.readiness import ready_workers

POLL = 0.5  # seconds; TorchServe logs each request for a state
SETTLE = 2.0  # seconds for the batches that the workers still run when the queue is empty
DRAIN = 60.0  # seconds that a queue may take to empty


class LifecycleError(Exception):
    """Refused, or failed and undone. The message says why, and which version serves."""


class Versions:
    """Every method raises ApiError if the server can't be reached."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def state(self, name: str, version: str | None = None) -> dict[str, Any] | None:
        """The state of one version, by default of the default version; None if it is not registered."""
        try:
            return self._client.describe(name, version)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def existing(self, name: str, version: str) -> dict[str, Any]:
        """The state of a version. Raises LifecycleError if it is not registered."""
        state = self.state(name, version)
        if state is None:
            known = ", ".join(self.ready(name)) or "none"
            raise LifecycleError(f"{name} {version} is not registered; versions: {known}")
        return state

    def default(self, name: str) -> str | None:
        """The version that serves requests without a version; None if there is no such model."""
        state = self.state(name)
        return None if state is None else str(state["modelVersion"])

    def ready(self, name: str) -> dict[str, int]:
        """Each version, the newest first, with the number of its READY workers."""
        states = sorted(self._client.versions(name), key=lambda state: natural(state["modelVersion"]), reverse=True)
        return {str(state["modelVersion"]): ready_workers(state) for state in states}

    def wait_ready(self, name: str, version: str, workers: int, timeout: float) -> None:
        """Returns when the version has so many workers and all are READY. Raises LifecycleError after `timeout` s."""
        deadline = time.monotonic() + timeout
        while True:
            state = self.existing(name, version)
            if ready_workers(state) >= workers == len(state["workers"]):
                return
            if time.monotonic() > deadline:
                raise LifecycleError(f"{name} {version}: not READY within {timeout:g} s")
            time.sleep(POLL)

    def drain(self, name: str, version: str) -> None:
        """Returns when no request waits for the version and its workers had time to finish. Raises LifecycleError after
        DRAIN seconds."""
        deadline = time.monotonic() + DRAIN
        while (waiting := int(self.existing(name, version)["jobQueueStatus"]["pendingRequests"])) > 0:
            if time.monotonic() > deadline:
                raise LifecycleError(f"{name} {version}: {waiting} requests still wait after {DRAIN:g} s")
            time.sleep(POLL)
        time.sleep(SETTLE)
