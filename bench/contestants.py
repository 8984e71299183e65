"""The servers that are measured, each as a process that is started, waited for, and stopped with all its children."""

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests
import torch

from bench.load import Body
from bench.processes import family
from scripts.archive.manifest import Archive, read_archive
from scripts.archive.outline import read_outline
from scripts.server.ports import Ports
from scripts.server.process_group import stop_group
from scripts.server.session import direct_session
from scripts.server.torchserve import GRACE, ServerError, TorchServe
from scripts.server.workers import most_workers

READY = 300.0  # seconds, on a busy machine
# Seconds for a server to finish its requests before it is paused. TorchServe would take an answer that is late by the
# pause for a dead worker.
SETTLE = 2.0
BASELINE = "TorchServe's image_classifier, batch 1"  # what people have who come to this project


class Contestant(ABC):
    """A server. Of the contestants of one `family` the report takes the best. Its methods raise ServerError."""

    body: Body = "raw"
    labels = True  # whether its answers have this project's form
    compiles = False  # whether it becomes faster for a minute, while Java compiles its own code

    def __init__(self, name: str, family: str, url: str) -> None:
        self.name, self.family, self.url = name, family, url

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @property
    @abstractmethod
    def process_id(self) -> int:
        """Of the process from which all others come."""

    def pause(self) -> None:
        """Stops it by a signal until `resume`, because an idle server still takes processor time."""
        time.sleep(SETTLE)
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        for process in family(self.process_id):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Runs it while the block runs."""
        self.resume()
        time.sleep(SETTLE / 4)
        yield
        self.pause()

    def check(self, photo: Path) -> None:
        """Raises ServerError unless it recognises the cat on scikit-image's photo `chelsea`."""
        photo_bytes = photo.read_bytes()
        if self.body == "form":
            sent: dict[str, Any] = {"files": {"image": ("image.jpg", photo_bytes, "image/jpeg")}}
        else:
            sent = {"data": photo_bytes}
        with direct_session() as session:
            answer = session.post(self.url, timeout=60, **sent)
        if answer.status_code != 200:
            raise ServerError(f"{self.name}: {answer.status_code}: {answer.text}")
        content = answer.json()
        if isinstance(content, list):
            (content,) = content
        names = [label["name"] for label in content["labels"]] if self.labels else list(content)[:1]
        if not {"tiger cat", "Egyptian cat"} & set(names):
            raise ServerError(f"{self.name}: {content}, expected a tiger cat or an Egyptian cat")


class OnTorchServe(Contestant):
    """An archive on TorchServe, with this project's config.properties."""

    compiles = True

    def __init__(self, name: str, family: str, archive: Archive, port: int, logs: Path, labels: bool = True) -> None:
        self.server = TorchServe([archive], archive.path.parent, Ports.from_first(port), logs)
        self.labels = labels
        super().__init__(name, family, f"{self.server.inference}/predictions/{archive.name}")

    def start(self) -> None:
        self.server.start()
        self.server.wait_ready()

    def stop(self) -> None:
        self.server.stop()

    @property
    def process_id(self) -> int:
        return self.server.process_id


class Process(Contestant):
    """A Python server, by its command line."""

    def __init__(
        self,
        name: str,
        family: str,
        url: str,
        body: Body,
        command: list[str],
        environment: Mapping[str, Any],
        log: Path,
    ) -> None:
        super().__init__(name, family, url)
        self.body = body
        self._command, self._log = command, log
        self._environment = {**os.environ, **{key: str(value) for key, value in environment.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + READY
        while True:
            with suppress(requests.RequestException), direct_session() as session:
                session.get(self.url, timeout=5)  # any answer will do: it wants POST
                return
            late = time.monotonic() > deadline
            if self._process.poll() is not None or late:
                last = (self._log.read_text().strip().splitlines() or ["it printed nothing"])[-1]
                raise ServerError(f"{self.name}: {f'not up after {READY:g} s' if late else 'ended'}: {last}")
            time.sleep(0.5)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # BentoML's and Ray's processes have groups of their own.
        everybody = family(process.pid)
        stop_group(process, GRACE)
        for survivor in everybody:
            with suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(everybody, GRACE)

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid


def image_classifier(batch: int, port: int, checkpoint: Path, work: Path) -> OnTorchServe:
    """TorchServe's own handler with one worker and the weights of `checkpoint`."""
    name = f"ic-{batch}"
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = work / f"{name}.pt"
    torch.save({f"network.{key}": tensor for key, tensor in content["model_state_dict"].items()}, weights)
    config, labels = work / f"{name}.yaml", work / "index_to_name.json"
    config.write_text(f"minWorkers: 1\nmaxWorkers: 1\nbatchSize: {batch}\nmaxBatchDelay: 5\n")
    labels.write_text(json.dumps(dict(enumerate(content["class_names"]))))
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", name, "--version", "1.0"]
    command += ["--handler", "image_classifier", "--serialized-file", str(weights), "--config-file", str(config)]
    command += ["--model-file", str(Path(__file__).parent / "peers" / "torchserve_model.py")]
    command += ["--extra-files", str(labels), "--export-path", str(work), "--force"]
    subprocess.run(command, check=True, capture_output=True)
    archive = read_archive(work / f"{name}.mar")
    shown = f"TorchServe's image_classifier, batch {batch}"
    return OnTorchServe(shown, shown, archive, port, work / f"{name}-logs", labels=False)


class Ceiling:
    """The archive's code in a loop without a server, a process for each worker: the most that a server could reach."""

    def __init__(self, archive: Path, of: str) -> None:
        self.name, self.of = f"no server: the code of {of}", of
        self._archive = archive
        self._processes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        workers = read_outline(read_archive(self._archive)).server.minWorkers or most_workers()
        command = [sys.executable, "-P", "-m", "bench.ceiling", str(self._archive)]
        for _ in range(workers):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._processes.append(process)
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise ServerError(f"{self.name}: ended before it was ready")

    def rate(self, image: Path, seconds: float) -> float:
        """Images a second of all processes together."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds} {image}\n")
            process.stdin.flush()
        lines = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(lines):
            raise ServerError(f"{self.name}: ended")
        return sum(map(float, lines))

    def stop(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.communicate()
