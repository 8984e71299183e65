"""haproxy before TorchServe, as a child process: it closes without losing what it has let in."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

from scripts.server.frontend import FrontEnd


class Doors:
    """Listens on a front end's inference and management addresses for a TorchServe that listens on unix sockets."""

    def __init__(self, config: Path, front: FrontEnd, home: Path) -> None:
        self._config = config
        self._front = front
        self._control = home / "control.sock"
        self._sockets = {"inference": home / "inference.sock", "management": home / "management.sock"}
        self._process: subprocess.Popen[bytes] | None = None

    def behind(self) -> dict[str, str]:
        """The TS_ variables that put TorchServe behind the doors."""
        front = self._front
        return {
            "TS_INFERENCE_ADDRESS": f"unix:{self._sockets['inference']}",
            "TS_MANAGEMENT_ADDRESS": f"unix:{self._sockets['management']}",
            "TS_METRICS_ADDRESS": f"http://{front.metrics}",
            "TS_GRPC_INFERENCE_ADDRESS": front.grpc_inference.host,
            "TS_GRPC_INFERENCE_PORT": str(front.grpc_inference.port),
            "TS_GRPC_MANAGEMENT_ADDRESS": front.grpc_management.host,
            "TS_GRPC_MANAGEMENT_PORT": str(front.grpc_management.port),
        }

    def open(self) -> None:
        """Until TorchServe stands behind them, the answer is 503."""
        variables = {
            "DOORS_INFERENCE": str(self._front.inference),
            "DOORS_MANAGEMENT": str(self._front.management),
            "DOORS_INFERENCE_SOCKET": str(self._sockets["inference"]),
            "DOORS_MANAGEMENT_SOCKET": str(self._sockets["management"]),
            "DOORS_MAX_REQUEST_SIZE": str(self._front.max_request_size),
            "DOORS_REQUEST_TIMEOUT": str(self._front.request_timeout),
            "DOORS_CONTROL": str(self._control),
        }
        self._process = subprocess.Popen(
            ["haproxy", "-db", "-f", self._config],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def say_ready(self, ready: bool) -> None:
        """What GET /ready answers from now on: 200, or 503 as from the start. Raises OSError if haproxy is gone."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self._control))
            control.sendall(f"{'enable' if ready else 'disable'} server gate/ready\n".encode())
            control.recv(1024)

    def ended(self) -> int | None:
        """haproxy's exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def close(self, grace: float) -> bool:
        """Lets nobody in any more and returns when all who are in have their answers: True; or, after `grace` seconds,
        False, and they have lost their connections."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return True
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
            return True
        process.kill()
        process.wait()
        return False
