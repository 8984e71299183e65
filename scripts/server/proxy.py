"""haproxy as a child process in front of TorchServe. When it stops, it finishes the requests that it has accepted."""

import contextlib
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from scripts.paths import HAPROXY
from scripts.server.budget import SMALL_BODY, Budget
from scripts.server.client import TIMEOUT
from scripts.server.frontend import FrontEnd
from scripts.server.sessions import Session, count_answers, read_sessions

logger = logging.getLogger("haproxy")

# haproxy warns of what is normal: that readiness was set, that it stops.
LEVELS = {"[NOTICE]": logging.INFO, "[WARNING]": logging.INFO, "[ALERT]": logging.ERROR}

CONNECTIONS = 4096  # at once
# A connection takes two files, one to the client and one to TorchServe; and some are haproxy's own.
OWN_FILES = 100
BROKEN = "broken_files"  # the key of a map that haproxy.cfg reads


class Proxy:
    """Listens on the inference, management and metrics addresses. TorchServe listens on unix sockets behind it."""

    def __init__(
        self, program: Path, front: FrontEnd, budget: Budget, home: Path, requests_log: Path | None = None
    ) -> None:
        """program: haproxy. home: a directory for the sockets.
        requests_log: the file to which it logs requests that failed, by default this process's console."""
        self._program = program
        self._front = front
        self._budget = budget
        self._requests_log = requests_log
        self._control = home / "control.sock"
        self._unready = home / "unready_models"
        self._store = home / "store"
        self._origins = home / "origins"
        self._refused: set[str] = set()
        self.metadata_socket = home / "metadata.sock"
        self._sockets = {name: home / f"{name}.sock" for name in ("inference", "management", "metrics")}
        self._process: subprocess.Popen[str] | None = None
        self._log: threading.Thread | None = None

    def torchserve_variables(self) -> dict[str, str]:
        """The TS_ variables that make TorchServe listen where the proxy connects, and on its other addresses."""
        front = self._front
        return {
            "TS_INFERENCE_ADDRESS": f"unix:{self._sockets['inference']}",
            "TS_MANAGEMENT_ADDRESS": f"unix:{self._sockets['management']}",
            "TS_METRICS_ADDRESS": f"unix:{self._sockets['metrics']}",
            # What is let in fits; the queue that may be full is the proxy's.
            "TS_JOB_QUEUE_SIZE": str(self._budget.small_bodies + self._budget.large_bodies),
            "TS_GRPC_INFERENCE_ADDRESS": front.grpc_inference.host,
            "TS_GRPC_INFERENCE_PORT": str(front.grpc_inference.port),
            "TS_GRPC_MANAGEMENT_ADDRESS": front.grpc_management.host,
            "TS_GRPC_MANAGEMENT_PORT": str(front.grpc_management.port),
        }

    def variables(self) -> dict[str, str]:
        """The variables that haproxy.cfg reads."""
        return {
            "PROXY_INFERENCE": str(self._front.inference),
            "PROXY_MANAGEMENT": str(self._front.management),
            "PROXY_METRICS": str(self._front.metrics),
            "PROXY_INFERENCE_SOCKET": str(self._sockets["inference"]),
            "PROXY_MANAGEMENT_SOCKET": str(self._sockets["management"]),
            "PROXY_METRICS_SOCKET": str(self._sockets["metrics"]),
            "PROXY_METADATA_SOCKET": str(self.metadata_socket),
            "PROXY_MAX_REQUEST_SIZE": str(self._budget.max_body),
            "PROXY_REQUEST_TIMEOUT": str(self._front.request_timeout),
            "PROXY_QUEUE": str(self._front.job_queue_size),
            "PROXY_SMALL_BODY": str(SMALL_BODY),
            "PROXY_SMALL_BODIES": str(self._budget.small_bodies),
            "PROXY_LARGE_BODIES": str(self._budget.large_bodies),
            "PROXY_UNREADY": str(self._unready),
            "PROXY_STORE": str(self._store),
            "PROXY_ORIGINS": str(self._origins),
            "PROXY_CONTROL": str(self._control),
            "PROXY_CONNECTIONS": str(_connections()),
        }

    def start(self) -> None:
        """Starts to listen. It answers 503 until TorchServe listens, too."""
        self._unready.touch()  # haproxy reads these three at its start
        self._origins.write_text("".join(f"{origin}\n" for origin in self._front.cors_origins))
        self._store.write_text(f"{BROKEN} 0\n")
        with contextlib.ExitStack() as stack:
            console = None if self._requests_log is None else stack.enter_context(self._requests_log.open("wb"))
            self._process = subprocess.Popen(
                [self._program, "-db", "-f", HAPROXY],
                env={**os.environ, **self.variables()},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._log = threading.Thread(target=_log_lines, args=(self._process.stderr,), daemon=True)
        self._log.start()

    def set_ready(self, ready: bool) -> None:
        """Sets what GET /ready and /ping answer: 200 or 503. At first it is 503. Raises OSError if haproxy is gone."""
        self._ask(f"{'enable' if ready else 'disable'} server readiness/models")

    def refuse(self, models: Collection[str]) -> None:
        """Answers 503 to requests for these models and no others. Raises OSError if haproxy is gone."""
        named = {model for model in models if re.fullmatch(r"[\w.-]+", model)}  # others would be no argument
        for model in self._refused ^ named:
            self._ask(f"{'add' if model in named else 'del'} acl {self._unready} {model}")
        self._refused = named

    def set_broken_files(self, number: int) -> None:
        """Sets the metric of broken files in the model store. Raises OSError if haproxy is gone."""
        self._ask(f"set map {self._store} {BROKEN} {number}")

    def sessions(self) -> list[Session]:
        """The requests that it has taken and not answered. Raises OSError if haproxy is gone."""
        return read_sessions(self._ask("show sess all"))

    def answers(self) -> int:
        """How many answers TorchServe has given so far. Raises OSError if haproxy is gone."""
        return count_answers(self._ask("show stat"))

    def end(self, session: Session) -> None:
        """Closes its client's connection. Raises OSError if haproxy is gone."""
        self._ask(f"shutdown session {session.id}")

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(TIMEOUT)
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: control.recv(1 << 16), b"")).decode(errors="replace")

    def ended(self) -> int | None:
        """haproxy's exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self, grace: float) -> bool:
        """Refuses new connections and returns True when every accepted request is answered. After `grace` seconds it
        closes the connections that are left and returns False."""
        process, self._process = self._process, None
        if process is None:
            return True
        process.send_signal(signal.SIGUSR1)  # does nothing once it has ended
        in_time = True
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            in_time = False
            process.kill()
            process.wait()
        if self._log is not None:
            self._log.join()
        return in_time


def _connections() -> int:
    """As many as there may be open files for; haproxy would not start with more."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, max(1, (files - OWN_FILES) // 2))


def _log_lines(stderr: TextIO) -> None:
    """Logs what haproxy prints in a form of its own: `[LEVEL]  (process id) : message`."""
    with stderr:
        for line in stderr:
            level, _, message = line.partition(" : ")
            tag = level.partition(" ")[0]
            logger.log(LEVELS.get(tag, logging.WARNING), message.strip() if tag in LEVELS else line.strip())
