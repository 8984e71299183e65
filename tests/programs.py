"""A program as a target of attacks: for tests of what watches a server."""

import subprocess
import sys
from pathlib import Path

import psutil

from bench.targets import Target


class Program(Target):
    """Python code in a process, beside an HTTP server that the test has on `port`."""

    name, memory, store = "the program", 10**9, Path()

    def __init__(self, code: str, port: int = 0, ready: bool = True) -> None:
        self.port = port
        self.asked = 0  # how often whether it is ready
        self._says = ready
        self._code = code

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _root(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    def _answers(self) -> bool:
        return True

    def ready_workers(self, model: str) -> int:
        return 0

    def ready(self) -> bool:
        self.asked += 1
        return self._says

    def go_on(self) -> None:
        """Lets the code read a line, and waits until it has written one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
