"""The two ways to run this project, as its users do, to be attacked: the container, and `make serve`."""

import json
import os
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import requests

from bench.processes import WORKER
from scripts.paths import ROOT
from scripts.server.budget import MIB, available_memory
from scripts.server.client import ApiError, Client
from scripts.server.ports import Ports
from scripts.server.process_group import stop_group
from scripts.server.readiness import ready_workers
from scripts.server.session import direct_session
from scripts.server.torchserve import ServerError

DOCKER = os.environ.get("DOCKER", "docker")
READY, STOP = 300.0, 40.0  # seconds; a stop takes STOP_GRACE at the most, 30 s
# As docs/operations.md recommends, with a small file system for logs, which an attack fills.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108
LOGS = "/app/logs"


class Target(ABC):
    """A server with the demo, as a context manager. Its methods raise ServerError."""

    name: str
    memory: int  # bytes that it may take
    port: int  # of the inference API, on loopback
    store: Path  # of its archives

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._start()
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY
        while not self._answers():
            if not self.running():
                raise ServerError(f"{self.name}: ended while it started")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}: not READY within {READY:.0f} s")
            time.sleep(0.25)

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...

    @abstractmethod
    def _root(self) -> psutil.Process:
        """The process from which all others come."""

    @abstractmethod
    def ready_workers(self, model: str) -> int:
        """How many workers of its default version can answer, as management says; 0 where it says nothing."""

    def running(self) -> bool:
        return bool(self.processes())

    def processes(self) -> list[psutil.Process]:
        """All that are alive."""
        with suppress(psutil.Error):
            root = self._root()
            return [root, *root.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if WORKER in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def ready(self) -> bool:
        """Whether /ready says so, which includes that it answers."""
        try:
            with direct_session() as session:
                return session.get(f"{self.url}/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def _answers(self) -> bool:
        return self.ready()


class Container(Target):
    """The slim image with so many MiB."""

    def __init__(self, image: str, store: Path, mib: int) -> None:
        self.name = f"the container with {mib} MiB"
        self.memory, self.store = mib * MIB, store
        self._container = f"robustness-{uuid.uuid4().hex[:12]}"
        self._run = (
            *("run", "--detach", "--name", self._container, "--publish", "127.0.0.1::8080", *HARDENED),
            *("--memory", f"{mib}m", "--memory-swap", f"{mib}m", "--tmpfs", f"{LOGS}:size=16m,uid=1000,gid=1000"),
            *("--volume", f"{store}:/app/models:ro", image),
        )

    def _start(self) -> None:
        _docker(*self._run)
        self._process = int(json.loads(_docker("inspect", self._container))[0]["State"]["Pid"])
        self.port = int(_docker("port", self._container, "8080").splitlines()[0].rpartition(":")[2])
        if not psutil.pid_exists(self._process):
            raise ServerError(f"{DOCKER}: its containers' processes are not on this machine, so they can't be measured")

    def _stop(self) -> None:
        with suppress(ServerError):
            _docker("rm", "--force", "--volumes", self._container)

    def _root(self) -> psutil.Process:
        return psutil.Process(self._process)

    def ready_workers(self, model: str) -> int:
        try:
            rows = json.loads(self.manage("list", model, "--json"))
        except ServerError:
            return 0
        return sum(row["ready"] for row in rows if row["serves"])

    def manage(self, *arguments: str | Path) -> str:
        """Runs scripts/manage_models.py and returns what it prints. A path is that of an archive in the store."""
        inside = [f"models/{part.name}" if isinstance(part, Path) else part for part in arguments]
        return _docker("exec", self._container, "python", "scripts/manage_models.py", *inside)

    def pause(self) -> None:
        _docker("pause", self._container)

    def unpause(self) -> None:
        _docker("unpause", self._container)

    def fill_disk(self) -> None:
        """Leaves no room for logs."""
        _docker("exec", self._container, "bash", "-c", f"cat /dev/zero > {LOGS}/filler 2> /dev/null || true")

    def free_disk(self) -> None:
        _docker("exec", self._container, "rm", f"{LOGS}/filler")


class Served(Target):
    """What `make serve` runs, on ports and with logs of its own."""

    name = "`make serve`"

    def __init__(self, archive: Path, port: int, work: Path) -> None:
        self.memory, self.store = available_memory(), archive.parent
        self.port = port
        self._work = work
        ports = Ports.from_first(port)
        self._client = Client(self.url, f"http://127.0.0.1:{ports.management}")
        self._command = [
            *(sys.executable, ROOT / "scripts" / "serve.py", "--archive", archive, "--logs", work / "logs"),
            *("--port", ports.inference, "--management-port", ports.management),
            *("--metrics-port", ports.metrics, "--grpc-port", ports.grpc_inference),
        ]

    def _start(self) -> None:
        self._work.mkdir()
        with (self._work / "console").open("wb") as console:
            command = list(map(str, self._command))
            self._server = subprocess.Popen(command, stdout=console, stderr=console, start_new_session=True)

    def _stop(self) -> None:
        stop_group(self._server, STOP)

    def _root(self) -> psutil.Process:
        return psutil.Process(self._server.pid)

    def ready_workers(self, model: str) -> int:
        try:
            return ready_workers(self._client.describe(model))
        except ApiError:
            return 0

    def running(self) -> bool:
        return self._server.poll() is None


def _docker(*arguments: str) -> str:
    return _run([DOCKER, *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise ServerError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def has_engine() -> bool:
    try:
        return subprocess.run([DOCKER, "version"], check=False, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
