#!/usr/bin/env python3
"""The container's main process. It starts TorchServe with every archive of the model store, and haproxy in front of it.
It watches both, and on SIGTERM stops them without losing a request.

Exit codes: 0 it was asked to stop, 1 settings or archives are wrong, the memory does not suffice or haproxy ended, 124
nobody was answered any more, else that of TorchServe.
"""

import logging
import os
import shutil
import sys
import time

from handler.errors import LoadError
from handler.log import log_as_json
from scripts.archive.manifest import find_archives
from scripts.paths import CONFIG, LOGS, MODEL_STORE, ROOT
from scripts.server.budget import MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.client import KEY_FILE, ApiError, Client
from scripts.server.frontend import HOME, JAVA_GRACE, FrontEnd, FrontEndError, read_front_end
from scripts.server.java import JavaNotFoundError
from scripts.server.loading import Change, Loading, State
from scripts.server.proxy import Proxy
from scripts.server.readiness import unready_models
from scripts.server.request_watch import RequestWatch, StallError
from scripts.server.supervisor import ChildEndedError, Supervisor
from scripts.server.torchserve import Ports, ServerError, TorchServe

logger = logging.getLogger("entrypoint")

HAPROXY_CONFIG = ROOT / "haproxy.cfg"
TORCHSERVE, HAPROXY = "TorchServe", "haproxy"
POLL = 1.0  # seconds
READY_POLL = 5.0  # seconds between looks at models that can answer; TorchServe logs each look
RESTART = 30.0  # seconds in which a worker starts again, and requests may wait for it
STALLED = 124  # the exit code, that of timeout(1)


def main() -> int:
    for name in (logger.name, HAPROXY):
        log_as_json(name)
    supervisor = Supervisor()
    try:
        front = read_front_end(CONFIG, os.environ)
        archives = find_archives(MODEL_STORE)
        outlines, clashes = read_clashes(front, archives)
        budget = plan(available_memory(), outlines, front.max_request_size)
        shutil.rmtree(HOME, ignore_errors=True)  # a restarted container still has the files of its last run
        HOME.mkdir(mode=0o700)
    except (LoadError, FrontEndError, MemoryBudgetError, OSError) as error:
        return _fail(str(error))
    proxy = Proxy(HAPROXY_CONFIG, front, budget, HOME)
    client = Client(front.inference.url, front.management.url, HOME / KEY_FILE)
    listen = proxy.torchserve_variables()
    server = TorchServe(
        archives, MODEL_STORE, _ports(front), LOGS, listen=listen, home=HOME, client=client, budget=budget
    )
    try:
        supervisor.start(TORCHSERVE, server, JAVA_GRACE)
        supervisor.start(HAPROXY, proxy, front.stop_grace - JAVA_GRACE)
        logger.info(f"inference on {front.inference}, management on {front.management}, metrics on {front.metrics}")
        logger.info(budget)
        for clash in clashes:
            logger.warning(f"clash: {clash}")
        logger.info(f"loading {', '.join(map(str, archives))}" if archives else _nothing(front))
        models = ModelWatch(server.loading(), client, proxy)
        response_timeout = max((outline.server.responseTimeout for outline in outlines), default=0)
        requests = RequestWatch(proxy, front.body_timeout, response_timeout)
        while supervisor.running(POLL):
            models.look(requests)
        return 0
    except ChildEndedError as ended:
        return _fail(str(ended), ended.code if ended.name == TORCHSERVE else 1)
    except StallError as error:
        return _fail(str(error), STALLED)
    except (ServerError, JavaNotFoundError, OSError) as error:
        return _fail(str(error))
    finally:
        _stop(supervisor, front.stop_grace)


class ModelWatch:
    """Logs which models are READY and why others aren't, and tells haproxy when all can answer and which can't."""

    def __init__(self, loading: Loading, client: Client, proxy: Proxy) -> None:
        self._loading = loading
        self._client = client
        self._proxy = proxy
        self._ready = False
        self._able = False  # whether answers can be expected: every model was READY when that was last known
        self._silent = False  # whether Java doesn't answer
        self._looked = 0.0  # when readiness was last asked for
        self._unready: dict[str, float] = {}  # models that can't answer, and when that was first seen

    def look(self, requests: RequestWatch) -> None:
        """Raises ServerError if TorchServe refused an archive, StallError if nobody is answered any more, or OSError if
        haproxy is gone."""
        for change in self._loading.changes():
            _report(change)
        stall = requests.look(self._able, self._silent)
        calm = self._ready and not self._loading.waiting and stall is None
        if not calm or time.monotonic() - self._looked > READY_POLL:
            self._looked = time.monotonic()
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
        if ready == self._ready:
            return
        self._ready = ready
        self._proxy.set_ready(ready)
        if ready:
            logger.info("ready: every model can answer")
        else:
            logger.error(f"not ready any more: {unreadiness}")


def _report(change: Change) -> None:
    archive = change.archive
    if change.state is State.READY:
        logger.info(f"{archive}: READY after {change.seconds:.0f} s")
    elif change.state is State.FAILED:
        logger.error(f"{archive}: does not load: {change.cause}")
    elif change.state is State.REMOVED:
        logger.info(f"{archive}: unregistered before it was READY")
    else:
        raise ServerError(f"{archive.path}: TorchServe refused it; its log above says why")


def _stop(supervisor: Supervisor, grace: int) -> None:
    started = time.monotonic()
    logger.info("stopping: no new requests, those that are in get their answers")
    if HAPROXY in supervisor.stop():
        logger.info(f"some had no answer within STOP_GRACE={grace} s")
    logger.info(f"stopped after {time.monotonic() - started:.1f} s")


def _ports(front: FrontEnd) -> Ports:
    return Ports(
        front.inference.port,
        front.management.port,
        front.metrics.port,
        front.grpc_inference.port,
        front.grpc_management.port,
    )


def _nothing(front: FrontEnd) -> str:
    return f"no archive in {MODEL_STORE}: waiting for one to be registered on {front.management}"


def _fail(message: str, code: int = 1) -> int:
    """As in shells, a signal's number becomes 128 more. A child that ended by itself is never a success."""
    logger.error(message)
    return 128 - code if code < 0 else code or 1


if __name__ == "__main__":
    sys.exit(main())
