#!/usr/bin/env python3
"""The container's main process: loads every archive of the model store, watches over haproxy and TorchServe, and on
SIGTERM stops without losing a request.

Exit codes: 0 it was asked to stop, 1 settings or archives are wrong or haproxy died, else what TorchServe ended with.
"""

import logging
import os
import shutil
import signal
import sys
import time
from http import HTTPStatus
from types import FrameType

from handler.errors import LoadError
from handler.log import log_as_json
from scripts.archive.manifest import Archive, find_archives
from scripts.paths import CONFIG, LOGS, MODEL_STORE, ROOT
from scripts.server.clashes import read_clashes
from scripts.server.client import KEY_FILE, ApiError, Client
from scripts.server.frontend import HOME, JAVA_GRACE, FrontEnd, FrontEndError, read_front_end
from scripts.server.java import JavaNotFoundError
from scripts.server.proxy import Proxy
from scripts.server.readiness import models_unreadiness
from scripts.server.torchserve import Ports, ServerError, TorchServe

logger = logging.getLogger("entrypoint")

HAPROXY = ROOT / "haproxy.cfg"
STOPPING = (signal.SIGINT, signal.SIGTERM)
POLL = 1.0  # seconds
CALM = 5.0  # seconds between looks at models that can answer; TorchServe logs each


class StopRequest(BaseException):
    """SIGTERM or Ctrl-C."""


def main() -> int:
    log_as_json(logger.name)
    log_as_json("haproxy")
    for number in STOPPING:
        signal.signal(number, _request_stop)
    try:
        front = read_front_end(CONFIG, os.environ)
        archives = find_archives(MODEL_STORE)
        clashes = read_clashes(front, archives)
        shutil.rmtree(HOME, ignore_errors=True)  # a container that is started again still has its last run's
        HOME.mkdir(mode=0o700)
    except StopRequest:
        return 0
    except (LoadError, FrontEndError, OSError) as error:
        return _fail(str(error))
    proxy = Proxy(HAPROXY, front, HOME)
    client = Client(front.inference.url, front.management.url, HOME / KEY_FILE)
    server = TorchServe(
        archives, MODEL_STORE, _ports(front), LOGS, listen=proxy.torchserve_variables(), home=HOME, client=client
    )
    try:
        server.start()
        proxy.start()
        logger.info(f"inference on {front.inference}, management on {front.management}, metrics on {front.metrics}")
        for clash in clashes:
            logger.warning(f"clash: {clash}")
        logger.info(f"loading {', '.join(map(str, archives))}" if archives else _nothing(front))
        return _watch(server, proxy)
    except StopRequest:
        return 0
    except (ServerError, JavaNotFoundError, OSError) as error:
        return _fail(str(error))
    finally:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        _stop(server, proxy, front.stop_grace)


def _watch(server: TorchServe, proxy: Proxy) -> int:
    """Returns when one of the two has died, and says meanwhile which models are ready, and why others aren't."""
    started = time.monotonic()
    loading = dict.fromkeys(server.archives, "")
    ready, looked = False, 0.0
    while True:
        if (code := server.ended()) is not None:
            return _fail(f"TorchServe ended by itself with code {code}", code)
        if (code := proxy.ended()) is not None:
            return _fail(f"haproxy ended by itself with code {code}")
        for archive, said in list(loading.items()):
            if server.ready(archive):
                logger.info(f"{archive}: READY after {time.monotonic() - started:.0f} s")
                del loading[archive]
            elif (cause := server.worker_failure(archive) or "") != said:
                logger.error(f"{archive}: does not load: {cause}")
                loading[archive] = cause
            elif _refused(server, archive):
                raise ServerError(f"{archive.path}: TorchServe refused it; its log above says why")
        if loading or not ready or time.monotonic() - looked > CALM:
            looked = time.monotonic()
            ready = _tell(proxy, ready, models_unreadiness(server.client))
        time.sleep(POLL)


def _tell(proxy: Proxy, before: bool, unready: str | None) -> bool:
    """Says to balancers and to the log that it has become ready, or no longer is."""
    ready = unready is None
    if ready != before:
        proxy.set_ready(ready)
        if ready:
            logger.info("ready: every model can answer")
        else:
            logger.error("not ready any more: %s", unready)
    return ready


def _refused(server: TorchServe, archive: Archive) -> bool:
    """TorchServe reads all archives before it listens, and goes on without those that it can't."""
    try:
        server.client.describe(archive.name, archive.version)
    except ApiError as error:
        return error.status == HTTPStatus.NOT_FOUND
    return False


def _stop(server: TorchServe, proxy: Proxy, grace: int) -> None:
    started = time.monotonic()
    logger.info("stopping: no new requests, those that are in get their answers")
    if not proxy.stop(grace - JAVA_GRACE):
        logger.info(f"some had no answer within STOP_GRACE={grace} s")
    server.stop(JAVA_GRACE)
    logger.info(f"stopped after {time.monotonic() - started:.1f} s")


def _request_stop(number: int, frame: FrameType | None) -> None:
    """Once: a second signal must not cut the stop short."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise StopRequest


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
    """A signal's number becomes 128 more, as shells have it; an end by itself is never a success."""
    logger.error(message)
    return 128 - code if code < 0 else code or 1


if __name__ == "__main__":
    sys.exit(main())
