"""Containers of the project's images, for tests/image: started, asked, and always removed."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
from samples import PATIENCE

from scripts.paths import ROOT

DOCKER = os.environ.get("DOCKER", "docker")
# What docs/operations.md recommends.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
FLAVOURS = ("official", "slim")
# Management listens on the container's own loopback, so the questions to it are asked from inside.
ASK_MANAGEMENT = """
import http.client, json, sys
answers = []
for method, path, headers, body in json.loads(sys.argv[1]):
    connection = http.client.HTTPConnection("127.0.0.1", 8081, timeout=600)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answers.append((answer.status, answer.read().decode()))
print(json.dumps(answers))
"""
Call = tuple[str, str, dict[str, str], str | None]  # method, path, headers, body


def docker(*arguments: str | Path, check: bool = True, timeout: float = PATIENCE) -> str:
    """Runs a docker command and returns what it printed on stdout."""
    command = [DOCKER, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout).strip()


def mounted(store: Path) -> tuple[str, str]:
    """The options that give a container its model store."""
    return ("--volume", f"{store}:/app/models:ro")


def environment(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The options that set variables in a container."""
    return tuple(part for name, value in settings.items() for part in ("--env", f"{name}={value}"))


def build(flavour: str) -> str:
    """Builds a flavour as `make` does and returns its name."""
    name = "multi-label-torchserve"
    goal = "image" if flavour == "official" else "image-slim"
    done = subprocess.run(
        ["make", goal, f"IMAGE={name}"], cwd=ROOT, capture_output=True, text=True, timeout=6 * PATIENCE
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return f"{name}:{flavour}"


class Container:
    """A running container. Use it as a context manager: it is removed with its volumes, whatever happens."""

    def __init__(self, image: str, *options: str | Path, command: tuple[str, ...] = ()) -> None:
        self.name = f"multi-label-torchserve-test-{uuid.uuid4().hex[:12]}"
        self._run = ("run", "--detach", "--name", self.name, *options, image, *command)

    def __enter__(self) -> Self:
        docker(*self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.logs()[-8000:])
        docker("rm", "--force", "--volumes", self.name, check=False)

    def run(self, *command: str, user: str = "", check: bool = True) -> str:
        return docker("exec", *(("--user", user) if user else ()), self.name, *command, check=check)

    def kill(self, process: str) -> None:
        """Kills, at once, each process inside whose command line has this in it."""
        others_than_this = f"[{process[0]}]{process[1:]}"
        self.run("bash", "-c", f"kill -9 $(grep -l '{others_than_this}' /proc/[0-9]*/cmdline | cut -d/ -f3)")

    def python(self, program: str) -> str:
        return self.run("python", "-c", program)

    def manage(self, *calls: Call) -> list[tuple[int, str]]:
        """Each call's status and body."""
        answers = json.loads(self.run("python", "-c", ASK_MANAGEMENT, json.dumps(calls)))
        return [(status, body) for status, body in answers]

    def logs(self) -> str:
        done = subprocess.run([DOCKER, "logs", self.name], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout + done.stderr

    def said(self) -> str:
        """What the entry point said, a line `LEVEL message` each."""
        lines = [json.loads(line) for line in self.logs().splitlines() if line.startswith("{")]
        return "".join(f"{line['level']} {line['message']}\n" for line in lines if line["logger"] == "entrypoint")

    def inspect(self) -> dict[str, Any]:
        [described] = json.loads(docker("inspect", self.name))
        return dict(described)

    @property
    def health(self) -> str:
        """Docker's own word: starting, healthy or unhealthy."""
        return str(self.inspect()["State"]["Health"]["Status"])

    def check_health(self) -> str:
        """One line of scripts/health.py, at once."""
        return self.run("python", "/app/scripts/health.py", check=False)

    def port(self, inside: int = 8080) -> int:
        """The port on loopback by which a published one is reached."""
        return int(docker("port", self.name, str(inside)).splitlines()[0].rpartition(":")[2])

    def signal(self, name: str) -> None:
        docker("kill", "--signal", name, self.name)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        return int(docker("wait", self.name, timeout=timeout))

    def wait_until(self, wanted: str, timeout: float = PATIENCE) -> None:
        """Until Docker calls it healthy or unhealthy."""
        deadline = time.monotonic() + timeout
        while (health := self.health) != wanted:
            state = self.inspect()["State"]
            assert state["Running"], f"ended with {state['ExitCode']}: {self.logs()[-5000:]}"
            assert time.monotonic() < deadline, f"{health}, expected {wanted}: {self.check_health()}"
            time.sleep(0.5)

    def wait_until_it_says(self, wanted: str, timeout: float = PATIENCE) -> None:
        """Until what scripts/health.py says holds this."""
        deadline = time.monotonic() + timeout
        while wanted not in (said := self.check_health()):
            assert time.monotonic() < deadline, f"{said}, expected {wanted}"
            time.sleep(0.5)

    def classify(self, photo: bytes, model: str = "cat-breeds") -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port()}/predictions/{model}", data=photo, timeout=PATIENCE)
