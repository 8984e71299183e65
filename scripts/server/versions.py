"""The versions of a model on a server, and waiting for what becomes of them."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from scripts.archive.manifest import natural
from scripts.server.client import ApiError, Client
from scripts.server.readiness import ready_workers
from scripts.server.worker_log import WorkerLog

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
        return self._client.state(name, version)

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

    def wait_ready(
        self,
        name: str,
        version: str,
        workers: int,
        timeout: float,
        log: WorkerLog,
        progress: Callable[[str], None],
        old: Collection[str] = (),
    ) -> None:
        """Returns when the version has so many workers and all are READY. Raises LifecycleError when one dies, or after
        `timeout` seconds.

        log: where the cause of a death stands, from before the workers were asked for. old: the workers that were there
        before, and may start again meanwhile.
        """
        started = time.monotonic()
        known: dict[str, int] = {}
        silence = ""
        while True:
            try:
                state, silence = self.existing(name, version), ""
            except ApiError as error:
                if error.status is not None:
                    raise
                state, silence = {"workers": []}, f": {error}"  # a busy server answers later
            if ready_workers(state) >= workers == len(state["workers"]):
                return
            if (cause := log.death(name, version)) is not None:
                raise LifecycleError(cause)
            # TorchServe starts a dead worker again, in another process.
            now = _processes(state, old)
            if any(known.get(worker, process) != process for worker, process in now.items()):
                raise LifecycleError(f"its worker died{log.hint()}")
            known |= now
            if (seconds := time.monotonic() - started) > timeout:
                raise LifecycleError(f"not READY within {timeout:g} s{silence}{log.hint()}")
            progress(f"loading {name} {version}  {seconds:.0f} s")
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


def _processes(state: Mapping[str, Any], old: Collection[str]) -> dict[str, int]:
    """The process of each worker that has one, by the worker's name, but for the old ones."""
    workers = {str(worker.get("id")): int(worker.get("pid", -1)) for worker in state["workers"]}
    return {name: process for name, process in workers.items() if process > 0 and name not in old}
