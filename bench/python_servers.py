"""The peers that are Python servers, each at two settings: one process with all cores, and a process a core.

mosec, BentoML and Ray Serve run in an environment of their own (bench/peers/requirements.lock), as their dependencies
clash with this project's.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import Process
from bench.load import Body
from handler.errors import LoadError
from scripts.paths import ROOT


@dataclass(frozen=True)
class Place:
    """What every peer gets. python: of the peers' own environment."""

    cores: int
    checkpoint: Path
    work: Path  # an empty directory
    python: Path


def python_servers(place: Place, ports: Iterator[int]) -> list[Process]:
    """Raises LoadError without the peers' environment."""
    if not place.python.exists():
        raise LoadError(place.python, "missing, expected the peers' environment as `make peers` makes it")
    servers = (_fastapi, _litserve, _mosec, _bentoml, _ray)
    return [server(place, next(ports), workers) for server in servers for workers in dict.fromkeys((1, place.cores))]


def _fastapi(place: Place, port: int, workers: int) -> Process:
    command = [sys.executable, "-P", "-m", "uvicorn", "bench.peers.fastapi_app:app", "--log-level", "warning"]
    command += ["--port", str(port), "--workers", str(workers)]
    return _process("FastAPI + timm", "raw", command, place, port, workers, None)


def _litserve(place: Place, port: int, workers: int) -> Process:
    command = [sys.executable, "-P", "-m", "bench.peers.litserve_app"]
    return _process("LitServe", "form", command, place, port, workers, _batch(workers))


def _mosec(place: Place, port: int, workers: int) -> Process:
    # One process for the network leaves the photos to others; with one a core, each decodes its own.
    decoders = place.cores if workers == 1 else 0
    command = [str(place.python), "-P", "-m", "bench.peers.mosec_app", "--address", "127.0.0.1", "--port", str(port)]
    command += ["--path", str(place.work / f"mosec-{port}"), "--log-level", "warning", "--timeout", "60000"]
    return _process("mosec", "raw", command, place, port, workers, _batch(workers), DECODERS=decoders)


def _bentoml(place: Place, port: int, workers: int) -> Process:
    command = [str(place.python), "-P", "-m", "bentoml", "serve", "bench.peers.bentoml_app:Classifier"]
    command += ["--working-dir", str(ROOT), "--host", "127.0.0.1", "--port", str(port)]
    own = {"BENTOML_HOME": place.work / f"bentoml-{port}", "BENTOML_DO_NOT_TRACK": True}
    return _process("BentoML", "form", command, place, port, workers, 8 if workers == 1 else 1, **own)


def _ray(place: Place, port: int, workers: int) -> Process:
    command = [str(place.python), "-P", "-m", "bench.peers.ray_app"]
    home = place.work / f"ray-{port}"
    own = {
        "HOME": home,  # where it keeps the token of its own processes
        "RAY_USAGE_STATS_ENABLED": 0,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": 0,  # keeps it on loopback, on Linux too
    }
    return _process("Ray Serve", "raw", command, place, port, workers, 8 if workers == 1 else 1, **own)


def _batch(workers: int) -> int:
    return 8 if workers == 1 else 4


def _process(
    family: str, body: Body, command: list[str], place: Place, port: int, workers: int, batch: int | None, **own: Any
) -> Process:
    threads = place.cores // workers
    name = f"{family}, {workers} x {threads} threads" + ("" if batch is None else f", batch {batch}")
    settings = {
        "THREADS": threads,
        "WORKERS": workers,
        "BATCH": batch or 1,
        "PORT": port,
        "CHECKPOINT": place.checkpoint,
    }
    environment = {**settings, "PYTHONPATH": ROOT, **own}
    log = place.work / f"{family.split()[0].lower()}-{port}.log"
    return Process(name, family, f"http://127.0.0.1:{port}/predict", body, command, environment, log)
