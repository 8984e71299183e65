"""Processes and threads that end between being listed and being looked at."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from bench.processes import WORKER, java_process, memory_mb, processor_seconds
from scripts.server.torchserve import ServerError


def _start() -> subprocess.Popen[bytes]:
    # It uses more of a core than the kernel's clock tick, which is what it counts in.
    program = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program, WORKER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = _start()
    yield process
    _end(process)


@pytest.fixture
def gone() -> psutil.Process:
    process = _start()
    seen = psutil.Process(process.pid)
    _end(process)
    return seen


@pytest.fixture
def java(worker: subprocess.Popen[bytes], gone: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> psutil.Process:
    """This process, with a worker that runs and one that has ended since it was listed."""
    own = psutil.Process()
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [gone, psutil.Process(worker.pid)])
    return own


def test_the_memory_of_the_workers_that_are_left(java: psutil.Process) -> None:
    memory = memory_mb(java)
    assert memory["java_mb"] > memory["workers_mb"] > 1


def test_the_time_of_the_threads_and_workers_that_are_left(
    java: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [SimpleNamespace(id=thread, user_time=1.0, system_time=0.5) for thread in (2**30, os.getpid())]
    monkeypatch.setattr(psutil.Process, "threads", lambda _: threads)
    used = processor_seconds(java, {"no such thread": "compiler"})
    assert used["rest"] == 1.5
    assert used["python"] > 0
    assert "compiler" not in used


def test_java_that_has_ended(gone: psutil.Process) -> None:
    for look in (memory_mb, lambda java: processor_seconds(java, {}), lambda java: java_process(java.pid)):
        with pytest.raises(ServerError, match="TorchServe ended"):
            look(gone)
