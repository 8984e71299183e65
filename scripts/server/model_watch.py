"""Watches the models: logs what becomes of them, tells haproxy which can answer, and does what operators decided."""

import logging
import time
from collections.abc import Collection
from contextlib import suppress

from scripts.archive.manifest import Archive, natural
from scripts.server.client import TIMEOUT, ApiError, Client
from scripts.server.decisions import Decisions
from scripts.server.loading import Change, Loading, State
from scripts.server.proxy import Proxy
from scripts.server.readiness import ready_workers, unready_models
from scripts.server.request_watch import RequestWatch
from scripts.server.torchserve import ServerError

logger = logging.getLogger("entrypoint")

READY_POLL = 5.0  # seconds between looks at models that can answer; TorchServe logs each look
RESTART = 30.0  # seconds in which a worker starts again, and requests may wait for it


class ModelWatch:
    """Logs which models are READY and why others aren't, and tells haproxy when all can answer and which can't."""

    def __init__(
        self,
        loading: Loading,
        client: Client,
        proxy: Proxy,
        decisions: Decisions,
        fatal: Collection[State] = (),
    ) -> None:
        """fatal: what stops the server, if it becomes of an archive."""
        self.loading = loading
        self.ready = False
        self.refused: list[Archive] = []  # by TorchServe
        self._client = client
        self._proxy = proxy
        self._decisions = decisions
        self._fatal = fatal
        self._failed: list[Archive] = []  # did not load, and may be the version that should serve
        self._stand_ins: dict[str, str] = {}  # of a model whose version does not load: the one that serves
        self._starting = True
        self._able = False  # whether answers can be expected: every model was READY when that was last known
        self._silent = False  # whether Java doesn't answer
        self._looked = 0.0  # when readiness was last asked for
        self._unready: dict[str, float] = {}  # models that can't answer, and when that was first seen

    @property
    def starting(self) -> bool:
        """Whether it is loading for the first time, and nothing has failed yet."""
        return self._starting and not self._failed and bool(self.loading.waiting)

    def look(self, requests: RequestWatch) -> None:
        """Raises ServerError if TorchServe refused an archive, StallError if nobody is answered any more, or OSError if
        haproxy doesn't answer: what it was to be told, it is told the next time."""
        for change in self.loading.changes():
            self._report(change)
        stall = requests.look(self._able, self._silent)
        calm = self.ready and not self.loading.waiting and stall is None
        if not calm or time.monotonic() - self._looked > READY_POLL:
            self._looked = time.monotonic()
            self._replace_failed()
            self._set_ready(self._unreadiness() or stall)

    def _unreadiness(self) -> str | None:
        try:
            reasons = unready_models(self._client)
        except ApiError as error:  # so nothing new is known of the models
            self._silent = error.status is None
            return str(error)
        self._able, self._silent = not reasons, False
        now = time.monotonic()
        self._unready = {model: self._unready.get(model, now) for model in reasons}
        self._proxy.refuse({model for model, since in self._unready.items() if now - since > RESTART})
        return next(iter(reasons.values()), None)

    def _set_ready(self, unreadiness: str | None) -> None:
        ready = unreadiness is None
        if ready == self.ready:
            return
        self._proxy.set_ready(ready)
        self.ready = ready
        if ready:
            self._starting = False
            logger.info("ready: every model can answer")
        else:
            logger.error(f"not ready any more: {unreadiness}")

    def _report(self, change: Change) -> None:
        archive = change.archive
        if change.state is State.READY:
            logger.info(f"{archive}: READY after {change.seconds:.0f} s")
            self._scale(archive)
            self._take_over(archive)
            return
        if change.state in self._fatal or (change.state is State.REFUSED and not self._others()):
            raise ServerError(_problem(change))
        if change.state is State.REMOVED:
            logger.info(_problem(change))
            return
        if change.state is State.FAILED:
            self._failed.append(archive)
        else:
            self.refused.append(archive)
        logger.error(f"{_problem(change)}{'' if change.state is State.FAILED else '. The others serve'}")

    def _others(self) -> bool:
        """Whether TorchServe has any other."""
        with suppress(ApiError):
            return bool(self._client.models())
        return True

    def _scale(self, archive: Archive) -> None:
        """To the number of workers that was last asked for."""
        workers = self._decisions.workers(archive.name, archive.version)
        if workers is None:
            return
        result = "as was last asked for"
        try:
            self._client.scale(archive.name, archive.version, workers, TIMEOUT)
        except ApiError as error:
            result = f"were last asked for, and can't be had: {error}"
        logger.info(f"{archive}: {workers} workers, {result}")

    def _take_over(self, archive: Archive) -> None:
        """From an older version that was READY sooner and serves in place of one that does not load."""
        standing = self._stand_ins.get(archive.name)
        if standing is None or natural(archive.version) <= natural(standing):
            return
        with suppress(ApiError):
            if self._client.describe(archive.name)["modelVersion"] == standing:  # and no operator has promoted another
                self._client.set_default(archive.name, archive.version)
                self._stand_ins[archive.name] = archive.version
                logger.error(f"{archive}: newer than {standing}, so it serves in its place")

    def _replace_failed(self) -> None:
        """Lets the newest version with a READY worker serve in place of one that does not load."""
        for archive in list(self._failed):
            with suppress(ApiError):
                if self._client.describe(archive.name)["modelVersion"] != archive.version:
                    self._failed.remove(archive)
                    continue
                ready = [
                    str(state["modelVersion"]) for state in self._client.versions(archive.name) if ready_workers(state)
                ]
                if archive.version in ready:
                    self._failed.remove(archive)
                elif ready:
                    newest = max(ready, key=natural)
                    self._client.set_default(archive.name, newest)
                    self._stand_ins[archive.name] = newest
                    logger.error(f"{archive}: does not load, so {newest} serves in its place")


def _problem(change: Change) -> str:
    archive = change.archive
    if change.state is State.FAILED:
        return f"{archive}: does not load: {change.cause}"
    if change.state is State.REFUSED:
        return f"{archive.path}: TorchServe refused it; its log says why"
    return f"{archive}: unregistered before it was READY"
