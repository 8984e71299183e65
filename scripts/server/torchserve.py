"""TorchServe as a child process that is waited for and really stopped.

Java is started directly, by the command line that TorchServe's own launcher builds: that launcher loses the process,
so that no signal reaches it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ts

from scripts.archive.manifest import Archive
from scripts.paths import CONFIG, LOGGING, METRICS
from scripts.server.client import ApiError, Client
from scripts.server.java import find_java
from scripts.server.readiness import ready_workers
from scripts.server.worker_log import WorkerLog

# Variables that would win over the command line.
OVERRULING = ("TS_CONFIG_FILE", "TS_MODEL_STORE", "TS_LOAD_MODELS")

GRACE = 15.0  # seconds between asking Java to stop and killing it


def stop_group(process: subprocess.Popen[Any], grace: float) -> None:
    """Asks a process that leads a group of its own to stop, and after `grace` seconds kills what is left of the group:
    its workers, and nobody else can be hit."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class ServerError(Exception):
    """The server or a model did not come up; the message is the cause."""


@dataclass(frozen=True)
class Ports:
    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    @classmethod
    def from_first(cls, first: int) -> Self:
        """Five in a row."""
        return cls(*range(first, first + 5))

    def taken(self) -> list[int]:
        """Those that somebody listens on."""
        busy = []
        for port in vars(self).values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    busy.append(port)
        return busy

    def check_free(self) -> None:
        """Raises ServerError that names those that are taken."""
        if taken := self.taken():
            raise ServerError(f"port {', '.join(map(str, taken))}: already in use")


class TorchServe:
    """A server with archives of one model store. Use it as a context manager."""

    def __init__(
        self,
        archives: Sequence[Archive],
        model_store: Path,
        ports: Ports,
        logs: Path,
        *,
        listen: Mapping[str, str] | None = None,
        home: Path | None = None,
        client: Client | None = None,
    ) -> None:
        """On loopback, in a temporary home, with the console in a file of `logs`. In a container haproxy stands before
        it: then `listen` holds the TS_ variables of its addresses, `home` a directory that stays, where Java finds and
        puts what it works with, and `client` asks through the doors; the console is ours."""
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
        self._home = home
        self._kept_home = home is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: WorkerLog | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts Java in a session of its own: the terminal's Ctrl-C reaches us alone, and we stop it in order."""
        self.ports.check_free()
        self.logs.mkdir(parents=True, exist_ok=True)
        self._log = WorkerLog(self.logs)
        # Java unpacks archives and puts the workers' sockets here: short, as socket paths are limited, and private, as
        # two servers would meet on one name.
        self._home = self._home or Path(tempfile.mkdtemp(prefix="ts-"))
        with contextlib.ExitStack() as stack:
            console = None if self._kept_home else stack.enter_context(self.console.open("wb"))
            self._process = subprocess.Popen(
                self._command(self._home),
                cwd=self._home,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, timeout: float = 300.0, progress: Callable[[str], None] = lambda _: None) -> None:
        """Returns when every archive has its workers READY. Raises ServerError with a worker's own last words if it
        dies, or after `timeout` seconds."""
        started = time.monotonic()
        waiting = self.archives
        while True:
            if self.ended() is not None:
                raise ServerError(f"TorchServe ended: {self._last_line()}")
            for archive in waiting:
                if (cause := self.worker_failure(archive)) is not None:
                    raise ServerError(f"{archive}: {cause}")
            waiting = [archive for archive in waiting if not self.ready(archive)]
            if not waiting:
                return
            names = ", ".join(map(str, waiting))
            seconds = time.monotonic() - started
            if seconds > timeout:
                raise ServerError(f"{names}: not ready after {timeout:.0f} s")
            progress(f"loading {names}  {seconds:.0f} s")
            time.sleep(0.25)

    def ready(self, archive: Archive) -> bool:
        """Whether it has all the workers that it should have."""
        try:
            described = self.client.describe(archive.name, archive.version)
        except ApiError:
            return False
        return ready_workers(described) >= max(1, int(described["minWorkers"]))

    def worker_failure(self, archive: Archive) -> str | None:
        """The exception with which a worker of this archive died since the start, or None."""
        assert self._log is not None
        return self._log.death(archive.name, archive.version)

    @property
    def process_id(self) -> int:
        """Java's, while it runs; the workers are its children."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """Java's exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait(self) -> int:
        """Blocks until Java ends and returns its exit code."""
        assert self._process is not None
        return self._process.wait()

    def stop(self, grace: float = GRACE) -> None:
        """Asks Java to stop, kills what is left of its process group, and removes its temporary files. Requests that it
        has taken are lost."""
        process, self._process = self._process, None
        if process is not None:
            stop_group(process, grace)
        if self._home is not None and not self._kept_home:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _command(self, home: Path) -> list[str]:
        package = Path(ts.__file__).resolve().parent
        models = [f"{archive.name}={archive.path.name}" for archive in self.archives]
        return [
            str(find_java()),
            f"-Dmodel_server_home={package.parent}",
            f"-Djava.io.tmpdir={home}",
            f"-Dlog4j2.configurationFile={LOGGING}",
            *("-cp", f".:{package / 'frontend' / '*'}"),
            "org.pytorch.serve.ModelServer",
            *("--python", sys.executable),
            *("-f", str(CONFIG)),
            *("-s", str(self.model_store)),
            "-ncs",  # else the last run's models are restored
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

    def _environment(self) -> dict[str, str]:
        """What the command line says must not be overruled by a variable."""
        kept = {name: value for name, value in os.environ.items() if name not in OVERRULING}
        return {**kept, **self._listen, "TS_METRICS_CONFIG": str(METRICS), "LOG_LOCATION": str(self.logs)}

    def _last_line(self) -> str:
        lines = self.console.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it printed nothing")
