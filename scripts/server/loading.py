"""What becomes of the archives that a TorchServe was started with."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus

from scripts.archive.manifest import Archive
from scripts.server.client import ApiError, Client
from scripts.server.readiness import has_its_workers
from scripts.server.worker_log import WorkerLog


class State(Enum):
    LOADING = auto()
    READY = auto()  # it has as many READY workers as it should have
    FAILED = auto()  # a worker died; TorchServe starts it again and again
    REFUSED = auto()  # TorchServe could not read it and goes on without it
    REMOVED = auto()  # somebody unregistered it before it was READY


@dataclass(frozen=True)
class Change:
    archive: Archive
    state: State
    cause: str = ""  # of FAILED: the worker's own exception
    seconds: float = 0.0  # since the start


class Loading:
    """Follows each archive until it is READY, REFUSED or REMOVED."""

    def __init__(self, archives: Sequence[Archive], client: Client, log: WorkerLog) -> None:
        self._client = client
        self._log = log
        self._started = time.monotonic()
        self._registered: set[Archive] = set()
        self._silent = False  # whether a question of this round had no answer
        self._causes = dict.fromkeys(archives, "")  # of those that are still followed

    @property
    def waiting(self) -> list[Archive]:
        """The archives that are loading or have failed."""
        return list(self._causes)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def changes(self) -> Iterator[Change]:
        """Looks once at each archive that is followed. Yields what is new."""
        self._silent = False
        for archive in self.waiting:
            state, cause = self._look(archive)
            if state is State.FAILED:
                if cause == self._causes[archive]:
                    continue
                self._causes[archive] = cause
            elif state is State.LOADING:
                continue
            else:
                del self._causes[archive]
            yield Change(archive, state, cause, self.seconds)

    def _look(self, archive: Archive) -> tuple[State, str]:
        if not self._silent and (state := self._ask(archive)) is not State.LOADING:
            return state, ""
        cause = self._log.death(archive.name, archive.version)
        return (State.LOADING, "") if cause is None else (State.FAILED, cause)

    def _ask(self, archive: Archive) -> State:
        try:
            described = self._client.describe(archive.name, archive.version)
        except ApiError as error:
            # Without an answer to one question there is none to the others, and a stop must not wait for them all.
            self._silent = error.status is None
            if error.status == HTTPStatus.NOT_FOUND:
                # TorchServe reads all archives before it listens.
                return State.REMOVED if archive in self._registered else State.REFUSED
            return State.LOADING
        self._registered.add(archive)
        return State.READY if has_its_workers(described) else State.LOADING
