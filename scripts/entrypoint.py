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
from scripts.archive.manifest import Archive, scan_store
from scripts.paths import CONFIG, LOGS, MODEL_STORE, ROOT, STATE
from scripts.server.budget import MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.client import KEY_FILE, Client
from scripts.server.decisions import Decisions
from scripts.server.frontend import HOME, JAVA_GRACE, FrontEnd, FrontEndError, read_front_end
from scripts.server.java import JavaNotFoundError
from scripts.server.model_watch import ModelWatch
from scripts.server.proxy import Proxy
from scripts.server.request_watch import RequestWatch, StallError
from scripts.server.supervisor import ChildEndedError, Supervisor
from scripts.server.torchserve import Ports, ServerError, TorchServe

logger = logging.getLogger("entrypoint")

HAPROXY_CONFIG = ROOT / "haproxy.cfg"
TORCHSERVE, HAPROXY = "TorchServe", "haproxy"
POLL = 1.0  # seconds
STALLED = 124  # the exit code, that of timeout(1)


def main() -> int:
    for name in (logger.name, HAPROXY):
        log_as_json(name)
    supervisor, decisions = Supervisor(), Decisions(STATE)
    try:
        front = read_front_end(CONFIG, os.environ)
        archives = decisions.in_order(_good_archives(front.strict_store))
        outlines, clashes = read_clashes(front, archives)
        budget = plan(available_memory(), decisions.outlines(outlines), front.max_request_size)
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
        models = ModelWatch(server.loading(), client, proxy, decisions, front.strict_store)
        response_timeout = max((outline.server.responseTimeout for outline in outlines), default=0)
        requests = RequestWatch(proxy, front.body_timeout, response_timeout)
        while supervisor.running(POLL):
            try:
                models.look(requests)
            except OSError as error:  # a busy haproxy answers the next time; one that has ended ends the loop
                logger.warning(f"haproxy's control socket: {type(error).__name__}")
        return 0
    except ChildEndedError as ended:
        return _fail(str(ended), ended.code if ended.name == TORCHSERVE else 1)
    except StallError as error:
        return _fail(str(error), STALLED)
    except (ServerError, JavaNotFoundError, OSError) as error:
        return _fail(str(error))
    finally:
        _stop(supervisor, front.stop_grace)


def _good_archives(strict: bool) -> list[Archive]:
    """Those of the model store. Raises LoadError if one is broken, where that is asked for or none is good."""
    archives, problems = scan_store(MODEL_STORE)
    if problems and (strict or not archives):
        raise problems[0]
    for problem in problems:
        logger.error(f"{problem}; the others serve (STORE_CHECK=strict would stop here)")
    return archives


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
