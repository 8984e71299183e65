#!/usr/bin/env python3
"""Serves an archive with TorchServe on this machine, in the foreground. Ctrl-C stops every process that it started."""

import argparse
import os
import sys
import time
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.paths import CONFIG, DEMO, LOGS, ROOT, STATE
from scripts.predict import URL as PREDICT_URL
from scripts.server.budget import MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.client import TIMEOUT, ApiError
from scripts.server.decisions import Decisions
from scripts.server.frontend import FrontEndError, read_front_end
from scripts.server.java import JavaNotFoundError
from scripts.server.progress import show_progress
from scripts.server.supervisor import ChildEndedError, Supervisor
from scripts.server.torchserve import GRACE, Ports, ServerError, TorchServe

POLL = 0.5  # seconds


def main() -> int:
    """Returns 0 when it was asked to stop, 1 when the server did not start or ended by itself."""
    options = _parser().parse_args()
    supervisor = Supervisor()
    try:
        archive = read_archive(options.archive)
        decisions = Decisions(STATE)
        front = read_front_end(CONFIG, os.environ)
        outlines, clashes = read_clashes(front, [archive])
        # Nothing stands before TorchServe here, so the bodies of all that wait are in Java.
        budget = plan(
            available_memory(), decisions.outlines(outlines), front.max_request_size, queue=front.job_queue_size
        )
    except (LoadError, FrontEndError, MemoryBudgetError) as error:
        return _fail(str(error))
    print(budget)
    for clash in clashes:
        print(f"clash: {clash}", file=sys.stderr, flush=True)
    server = TorchServe([archive], archive.path.parent, _ports(options), options.logs, budget=budget)
    print(f"starting TorchServe, log in {server.console}", flush=True)
    started = time.monotonic()
    try:
        supervisor.start("TorchServe", server, GRACE)
        if supervisor.running(0) and server.wait_ready(options.timeout, show_progress, supervisor.running):
            if (workers := decisions.workers(archive.name, archive.version)) is not None:
                server.client.scale(archive.name, archive.version, workers, TIMEOUT)
                print(f"scaling to {workers} workers, as was last asked for")
            _announce(server, archive.name, time.monotonic() - started, options.photo)
        while supervisor.running(POLL):
            pass
        print("\nstopping", flush=True)
        return 0
    except (ServerError, JavaNotFoundError, ApiError) as error:
        return _fail(str(error))
    except ChildEndedError as error:
        return _fail(f"{error}: {server.last_line()}; see {server.console}")
    finally:
        supervisor.stop()


def _fail(message: str) -> int:
    show_progress("")
    print(f"error: {message}", file=sys.stderr)
    return 1


def _ports(options: argparse.Namespace) -> Ports:
    return Ports(options.port, options.management_port, options.metrics_port, options.grpc_port, options.grpc_port + 1)


def _announce(server: TorchServe, name: str, seconds: float, photo: str) -> None:
    url = f"{server.inference}/predictions/{name}"
    option = "" if url == PREDICT_URL else f" --url {url}"
    show_progress("")
    print(f"READY after {seconds:.0f} s: {name} on {server.inference}, management {server.management}\n")
    print("Classify a photo:")
    print(f"  {_shown(sys.executable)} {_shown(ROOT / 'scripts' / 'predict.py')}{option} {photo}")
    print(f"  curl -T {photo} {url}\n")
    print("Ctrl-C stops the server.", flush=True)


def _shown(path: str | Path) -> str:
    """The path as it is typed in this directory."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="a .mar in its model store")
    add("--port", type=int, default=Ports.inference, help="inference port (default: %(default)s)")
    add("--management-port", type=int, default=Ports.management, help="management port (default: %(default)s)")
    add("--metrics-port", type=int, default=Ports.metrics, help="metrics port (default: %(default)s)")
    add(
        "--grpc-port",
        type=int,
        default=Ports.grpc_inference,
        help="gRPC inference port; gRPC management gets the next (default: %(default)s)",
    )
    add("--logs", type=Path, default=LOGS, help="directory for the logs (default: logs)")
    add("--timeout", type=float, default=300.0, help="seconds until workers must be READY (default: %(default)s)")
    add("--photo", default="cat.jpg", help="a photo for the example commands that are printed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
