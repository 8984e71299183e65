"""TorchServe as a child process.

Java is started directly, with the command line that TorchServe's own launcher builds. The launcher detaches Java, so
that no signal would reach it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import ts

from scripts.archive.manifest import Archive
from scripts.paths import CONFIG, LOGGING, METRICS
from scripts.server.budget import Budget, MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.client import ApiError, Client
from scripts.server.frontend import FrontEndError, read_front_end
from scripts.server.java import find_java
from scripts.server.loading import Loading, State
from scripts.server.ports import Ports
from scripts.server.process_group import start_group, stop_group
from scripts.server.readiness import has_its_workers
from scripts.server.worker_log import WorkerLog

# Variables that would override the command line.
OVERRIDING = ("TS_CONFIG_FILE", "TS_MODEL_STORE", "TS_LOAD_MODELS")

# So many turns a thread of torch's waits for the others before it lets another process run. With the default of 300,000
# a worker beside a busy process is several times slower: docs/decisions/0029.
SPINNING = {"GOMP_SPINCOUNT": "1000"}

GRACE = 15.0  # seconds between asking Java to stop and killing it
POLL = 0.25  # seconds between looks at models that load
NOT_LOADED = {
    State.REFUSED: "TorchServe refused it; its log says why",
    State.REMOVED: "somebody unregistered it before it was READY",
}


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


class ServerError(Exception):
    """The server or a model did not start; the message is the cause."""


def check_free(ports: Ports) -> None:
    """Raises ServerError, which names the ports that are taken."""
    if taken := ports.taken():
        raise ServerError(f"port {', '.join(map(str, taken))}: already in use")


def _plan(archives: Sequence[Archive]) -> Budget:
    """An archive that can't be read is TorchServe's to refuse. Raises ServerError."""
    try:
        front = read_front_end(CONFIG, os.environ)
        outlines, _ = read_clashes(front, archives)
        return plan(available_memory(), outlines, front.max_request_size)
    except (FrontEndError, MemoryBudgetError) as error:
        raise ServerError(str(error)) from None


class TorchServe:
    """A server with archives of one model store. Use it as a context manager, or give it to a Supervisor."""

    def __init__(
        self,
        archives: Sequence[Archive],
        model_store: Path,
        ports: Ports,
        logs: Path,
        *,
        listen: Mapping[str, str] | None = None,
        home: Path | None = None,
        console: bool = False,
        client: Client | None = None,
        budget: Budget | None = None,
    ) -> None:
        """By default it listens on loopback, works in a temporary directory, and its console goes to a file in `logs`.

        listen: the TS_ variables of its addresses, if it listens elsewhere.
        home: its working directory, if that is to stay.
        console: whether its console is that of this process.
        client: the client for its management API, if it isn't reached directly.
        budget: what Java and the workers may take, by default what this machine's memory allows with these archives.
        """
        self.archives = list(archives)
        self.model_store = model_store.resolve()
        self.ports = ports
        self.logs = logs.resolve()
        self.inference = f"http://127.0.0.1:{ports.inference}"
        self.management = f"http://127.0.0.1:{ports.management}"
        self.metrics = f"http://127.0.0.1:{ports.metrics}"
        self.client = client or Client(self.inference, self.management)
        self.console = self.logs / "console.log"
        self._listen = dict(listen) if listen is not None else self._loopback()
        self._budget = budget
        self._home = home
        self._kept_home = home is not None
        self._own_console = not console
        self._process: subprocess.Popen[bytes] | None = None
        self._log = WorkerLog(self.logs)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # a Ctrl-C, too: Java may run already
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts Java, in a session of its own, so that stop() can end it in order.

        Raises ServerError if a port is taken or the memory does not suffice, or JavaNotFoundError.
        """
        check_free(self.ports)
        budget = self._budget or _plan(self.archives)
        java = find_java()
        self.logs.mkdir(parents=True, exist_ok=True)
        self._log = WorkerLog(self.logs)
        # Java unpacks archives and creates the workers' sockets here. The path is short, because that of a socket is
        # limited, and private, because two servers give their sockets the same names.
        self._home = self._home or Path(tempfile.mkdtemp(prefix="ts-"))
        console = self.console if self._own_console else None
        self._process = start_group(
            self._command(java, self._home, budget), self._home, console, self._environment(budget)
        )

    def loading(self) -> Loading:
        """Follows the archives from now on."""
        return Loading(self.archives, self.client, self._log)

    def wait_ready(
        self,
        timeout: float = 300.0,
        progress: Callable[[str], None] = lambda _: None,
        running: Callable[[float], bool] = _sleep,
    ) -> bool:
        """Returns True when every archive has its workers READY. Raises ServerError with the worker's exception if one
        dies, or after `timeout` seconds.

        running: waits so many seconds; where it returns False, the wait is over, and the answer False.
        """
        loading = self.loading()
        while True:
            if self.ended() is not None:
                raise ServerError(f"TorchServe ended: {self.last_line()}")
            for change in loading.changes():
                if change.state is not State.READY:
                    raise ServerError(f"{change.archive}: {change.cause or NOT_LOADED[change.state]}")
            if not loading.waiting:
                return True
            names = ", ".join(map(str, loading.waiting))
            if loading.seconds > timeout:
                raise ServerError(f"{names}: not ready after {timeout:.0f} s")
            progress(f"loading {names}  {loading.seconds:.0f} s")
            if not running(POLL):
                return False

    def ready(self, archive: Archive) -> bool:
        """Whether it has as many READY workers as it should have."""
        try:
            return has_its_workers(self.client.describe(archive.name, archive.version))
        except ApiError:
            return False

    @property
    def process_id(self) -> int:
        """The process id of Java, while it runs. The workers are its children."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """Java's exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self, grace: float = GRACE) -> bool:
        """Asks Java to stop, kills what is left of its process group, and removes its temporary files. Requests that it
        has accepted are lost. Returns False if Java had to be killed."""
        process, self._process = self._process, None
        in_time = process is None or stop_group(process, grace)
        if self._home is not None and not self._kept_home:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
        return in_time

    def last_line(self) -> str:
        """The last line of the console's file."""
        lines = self.console.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it printed nothing")

    def _command(self, java: Path, home: Path, budget: Budget) -> list[str]:
        package = Path(ts.__file__).resolve().parent
        models = [f"{archive.name}={archive.path.name}" for archive in self.archives]
        return [
            str(java),
            *budget.java_options(),
            f"-Dmodel_server_home={package.parent}",
            f"-Djava.io.tmpdir={home}",
            f"-Dlog4j2.configurationFile={LOGGING}",
            *("-cp", f".:{package / 'frontend' / '*'}"),
            "org.pytorch.serve.ModelServer",
            *("--python", sys.executable),
            *("-f", str(CONFIG)),
            *("-s", str(self.model_store)),
            "-ncs",  # no configuration snapshots: they would restore the last run's models
            *(("-m", *models) if models else ()),
        ]

    def _loopback(self) -> dict[str, str]:
        return {
            "TS_INFERENCE_ADDRESS": self.inference,
            "TS_MANAGEMENT_ADDRESS": self.management,
            "TS_METRICS_ADDRESS": self.metrics,
            "TS_GRPC_INFERENCE_PORT": str(self.ports.grpc_inference),
            "TS_GRPC_MANAGEMENT_PORT": str(self.ports.grpc_management),
        }

    def _environment(self, budget: Budget) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in OVERRIDING}
        return {
            **SPINNING,
            **kept,
            **self._listen,
            **budget.variables(),
            "TS_METRICS_CONFIG": str(METRICS),
            "LOG_LOCATION": str(self.logs),
        }
