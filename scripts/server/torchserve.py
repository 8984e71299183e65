"""TorchServe as a child process that is waited for and really stopped.

Java is started directly, by the command line that TorchServe's own launcher builds: that launcher loses the process,
so that no signal reaches it.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
import ts

from scripts.server.java import find_java

CONFIG = Path(__file__).resolve().parents[2] / "config.properties"
CONSOLE = "console.log"
GRACE = 15.0  # seconds between asking Java to stop and killing it
# A worker's own log line in the console: "… W-9000-cat-breeds_1.0-stdout MODEL_LOG - text"
WORKER_LINE = re.compile(r"W-\d+-(?P<model>.+?)_[^_]+-stdout MODEL_LOG - (?P<text>.*)")
DIED = "Backend worker process died."


class ServerError(Exception):
    """The server or a model did not come up; the message is the cause."""


@dataclass(frozen=True)
class Ports:
    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    def taken(self) -> list[int]:
        """Those that somebody listens on."""
        busy = []
        for port in vars(self).values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    busy.append(port)
        return busy


class TorchServe:
    """A server on loopback with the archives of one model store. Use it as a context manager."""

    def __init__(self, model_store: Path, models: Mapping[str, str], ports: Ports, logs: Path) -> None:
        """models: name → file name of an archive in the store."""
        self.model_store = model_store.resolve()
        self.models = dict(models)
        self.ports = ports
        self.logs = logs.resolve()
        self.inference = f"http://127.0.0.1:{ports.inference}"
        self.management = f"http://127.0.0.1:{ports.management}"
        self.metrics = f"http://127.0.0.1:{ports.metrics}"
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def console(self) -> Path:
        return self.logs / CONSOLE

    def start(self) -> None:
        """Starts Java in a session of its own: the terminal's Ctrl-C reaches us alone, and we stop it in order."""
        if taken := self.ports.taken():
            raise ServerError(f"port {', '.join(map(str, taken))}: already in use")
        self.logs.mkdir(parents=True, exist_ok=True)
        # Java unpacks archives and puts the workers' sockets here: short, as socket paths are limited, and private, as
        # two servers would meet on one name.
        self._home = Path(tempfile.mkdtemp(prefix="ts-"))
        with self.console.open("wb") as console:
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
        """Returns when every model has its workers READY. Raises ServerError with a worker's own last words if it dies,
        or after `timeout` seconds."""
        started = time.monotonic()
        waiting = set(self.models)
        while True:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"TorchServe ended: {self._last_line()}")
            for model in sorted(waiting):
                if (cause := self.worker_failure(model)) is not None:
                    raise ServerError(f"{model}: {cause}")
                if self.ready(model):
                    waiting.remove(model)
            if not waiting:
                return
            seconds = time.monotonic() - started
            if seconds > timeout:
                raise ServerError(f"{', '.join(sorted(waiting))}: not ready after {timeout:.0f} s")
            progress(f"loading {', '.join(sorted(waiting))}  {seconds:.0f} s")
            time.sleep(0.25)

    def ready(self, model: str) -> bool:
        """Whether the model's default version has all the workers that it should have."""
        try:
            [described] = requests.get(f"{self.management}/models/{model}", timeout=5).json()
        except (requests.RequestException, ValueError, TypeError):
            return False
        ready = [worker for worker in described["workers"] if worker["status"] == "READY"]
        return len(ready) >= max(1, int(described["minWorkers"]))

    def worker_failure(self, model: str) -> str | None:
        """The last line of the traceback with which a worker of this model died, or None."""
        lines = [found for line in self._console_lines() if (found := WORKER_LINE.search(line))]
        texts = [found["text"] for found in lines if found["model"] == model]
        if DIED not in texts:
            return None
        trace = texts[len(texts) - texts[::-1].index(DIED) :]
        # Indented lines are frames; the exception's own line is the first that isn't, after "Traceback …".
        causes = [text for text in trace if text and not text.startswith((" ", "Traceback", "During", "The above"))]
        return causes[0] if causes else None

    def wait(self) -> int:
        """Blocks until Java ends and returns its exit code."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """Asks Java to stop, kills what is left of its process group, and removes its temporary files."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            # Java is its group's leader, and its workers are in the group. None but they can be hit.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _command(self, home: Path) -> list[str]:
        package = Path(ts.__file__).resolve().parent
        return [
            str(find_java()),
            f"-Dmodel_server_home={package.parent}",
            f"-Djava.io.tmpdir={home}",
            *("-cp", f".:{package / 'frontend' / '*'}"),
            "org.pytorch.serve.ModelServer",
            *("--python", sys.executable),
            *("-f", str(CONFIG)),
            *("-s", str(self.model_store)),
            "-ncs",  # else the last run's models are restored
            *("-m", *(f"{name}={file}" for name, file in self.models.items())),
        ]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TS_INFERENCE_ADDRESS": self.inference,
            "TS_MANAGEMENT_ADDRESS": self.management,
            "TS_METRICS_ADDRESS": self.metrics,
            "TS_GRPC_INFERENCE_PORT": str(self.ports.grpc_inference),
            "TS_GRPC_MANAGEMENT_PORT": str(self.ports.grpc_management),
            "TS_ALLOWED_URLS": f"file://{re.escape(str(self.model_store))}/.*",
            "LOG_LOCATION": str(self.logs),
            "METRICS_LOCATION": str(self.logs),
        }

    def _console_lines(self) -> list[str]:
        return self.console.read_text(encoding="utf-8", errors="replace").splitlines()

    def _last_line(self) -> str:
        return next((line for line in reversed(self._console_lines()) if line.strip()), "it printed nothing")
