"""TorchServe with haproxy before it, started, watched and stopped in order: what the container and `make serve` run."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.archive.manifest import Archive
from scripts.server.budget import MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.client import KEY_FILE, Client
from scripts.server.decisions import Decisions
from scripts.server.frontend import JAVA_GRACE, FrontEnd
from scripts.server.haproxy import HaproxyNotFoundError, find_haproxy
from scripts.server.java import JavaNotFoundError
from scripts.server.loading import State
from scripts.server.metadata import Metadata
from scripts.server.model_watch import ModelWatch
from scripts.server.ports import Ports
from scripts.server.proxy import Proxy
from scripts.server.request_watch import RequestWatch, StallError
from scripts.server.store_watch import StoreWatch
from scripts.server.supervisor import ChildEndedError, Supervisor
from scripts.server.torchserve import ServerError, TorchServe

logger = logging.getLogger("entrypoint")

TORCHSERVE, METADATA, HAPROXY = "TorchServe", "metadata", "haproxy"
POLL = 1.0  # seconds
STALLED = 124  # the exit code, that of timeout(1)


@dataclass(frozen=True)
class Service:
    front: FrontEnd
    archives: Sequence[Archive]
    store: Path  # the directory that holds them
    logs: Path
    home: Path  # a directory of its own for sockets, tokens and unpacked archives
    decisions: Decisions
    console: bool  # whether TorchServe and haproxy write to this process's console, or to files in `logs`
    fatal: Collection[State]  # what ends it, if it becomes of an archive
    first_poll: float = POLL  # seconds between looks while the models load for the first time; haproxy logs each

    def run(self, supervisor: Supervisor, looked: Callable[[ModelWatch], None] = lambda _: None) -> int:
        """Serves until it is asked to stop, and logs why it ends. looked: is called after each look at the models, and
        ends all by a ServerError.

        Returns the exit code: 0 it was asked to stop, 1 the memory does not suffice, a port is taken, a program is
        missing, an archive ended it or haproxy did, 124 nobody was answered any more, else that of TorchServe.
        """
        front = self.front
        try:
            program = find_haproxy()
            outlines, clashes = read_clashes(front, self.archives)
            budget = plan(available_memory(), self.decisions.outlines(outlines), front.max_request_size)
        except (HaproxyNotFoundError, MemoryBudgetError) as error:
            return fail(str(error))
        proxy = Proxy(program, front, budget, self.home, None if self.console else self.logs / "haproxy.log")
        console = None if self.console else self.logs / "metadata.log"
        metadata = Metadata(front, proxy.metadata_socket, self.home, console)
        client = Client(front.inference.url, front.management.url, self.home / KEY_FILE)
        server = TorchServe(
            self.archives,
            self.store,
            _ports(front),
            self.logs,
            listen=proxy.torchserve_variables(),
            home=self.home,
            console=self.console,
            client=client,
            budget=budget,
        )
        try:
            supervisor.start(TORCHSERVE, server, JAVA_GRACE)
            supervisor.start(METADATA, metadata, 0)
            supervisor.start(HAPROXY, proxy, front.stop_grace - JAVA_GRACE)
            logger.info(f"inference on {front.inference}, management on {front.management}, metrics on {front.metrics}")
            logger.info(budget)
            for clash in clashes:
                logger.warning(f"clash: {clash}")
            logger.info(f"loading {', '.join(map(str, self.archives))}" if self.archives else self._nothing())
            models = ModelWatch(server.loading(), client, proxy, self.decisions, self.fatal)
            response_timeout = max((outline.server.responseTimeout for outline in outlines), default=0)
            requests, store = RequestWatch(proxy, front.body_timeout, response_timeout), StoreWatch(self.store, proxy)
            while supervisor.running(self.first_poll if models.starting else POLL):
                try:
                    models.look(requests)
                    store.look(models.refused)
                except OSError as error:  # a busy haproxy answers the next time; one that has ended ends the loop
                    logger.warning(f"haproxy's control socket: {type(error).__name__}: {error}")
                looked(models)
            return 0
        except ChildEndedError as ended:
            return fail(f"{ended}{self._hint(server, ended)}", ended.code if ended.name == TORCHSERVE else 1)
        except StallError as error:
            return fail(str(error), STALLED)
        except (ServerError, JavaNotFoundError, OSError) as error:
            return fail(str(error))
        finally:
            _stop(supervisor, front.stop_grace)

    def _nothing(self) -> str:
        return f"no archive in {self.store}: waiting for one to be registered on {self.front.management}"

    def _hint(self, server: TorchServe, ended: ChildEndedError) -> str:
        if self.console or ended.name != TORCHSERVE:
            return ""
        return f": {server.last_line()}; see {server.console}"


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


def fail(message: str, code: int = 1) -> int:
    """Logs it. As in shells, a signal's number becomes 128 more. A child that ended by itself is never a success."""
    logger.error(message)
    return 128 - code if code < 0 else code or 1
