"""`make serve` as tests start and end it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samples import PATIENCE

from scripts.paths import ROOT
from scripts.server.ports import Ports


def serve(archive: Path, ports: Ports, logs: Path) -> "subprocess.Popen[str]":
    options = {
        "--archive": archive,
        "--port": ports.inference,
        "--management-port": ports.management,
        "--metrics-port": ports.metrics,
        "--grpc-port": ports.grpc_inference,
        "--logs": logs,
        "--timeout": PATIENCE,
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process: "subprocess.Popen[str]") -> None:
    """Also after a failed test: asked to stop, it stops Java and the workers, which a kill would leave behind."""
    process.terminate()
    process.communicate(timeout=PATIENCE)


@contextmanager
def served(archive: Path, ports: Ports, logs: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, and what it printed until it served."""
    process = serve(archive, ports, logs)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        yield process, "".join(lines)
    finally:
        end(process)
