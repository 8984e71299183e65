#!/usr/bin/env python3
"""Serves an archive with TorchServe on this machine, in the foreground. Ctrl-C stops all that it started."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.paths import CONFIG, DEMO, LOGS, ROOT
from scripts.predict import URL as PREDICT_URL
from scripts.server.clashes import read_clashes
from scripts.server.frontend import FrontEndError, read_front_end
from scripts.server.java import JavaNotFoundError
from scripts.server.progress import show_progress
from scripts.server.torchserve import Ports, ServerError, TorchServe


def main() -> int:
    """Returns 0 when it was asked to stop, 1 when the server did not come up or ended by itself."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
        signal.signal(number, _interrupt)
    server: TorchServe | None = None
    try:
        archive = read_archive(arguments.archive)
        ports = Ports(
            arguments.port,
            arguments.management_port,
            arguments.metrics_port,
            arguments.grpc_port,
            arguments.grpc_port + 1,
        )
        for clash in read_clashes(read_front_end(CONFIG, os.environ), [archive]):
            print(f"clash: {clash}", file=sys.stderr, flush=True)
        server = TorchServe([archive], archive.path.parent, ports, arguments.logs)
        started = time.monotonic()
        print(f"starting TorchServe, log in {server.console}", flush=True)
        server.start()
        server.wait_ready(arguments.timeout, show_progress)
        _announce(server, archive.name, time.monotonic() - started, arguments.photo)
        code = server.wait()
        print(f"error: TorchServe ended by itself with code {code}; see {server.console}", file=sys.stderr)
        return 1
    except (LoadError, FrontEndError, ServerError, JavaNotFoundError) as error:
        show_progress("")
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return 0
    finally:
        # From here on a second Ctrl-C must not cut the stop short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if server is not None:
            server.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


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
    """As one would type it here."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="a .mar in its model store")
    add("--port", type=int, default=Ports.inference, help="inference (default: %(default)s)")
    add("--management-port", type=int, default=Ports.management, help="default: %(default)s")
    add("--metrics-port", type=int, default=Ports.metrics, help="default: %(default)s")
    add("--grpc-port", type=int, default=Ports.grpc_inference, help="and the next one (default: %(default)s)")
    add("--logs", type=Path, default=LOGS, help="directory of the logs (default: logs)")
    add("--timeout", type=float, default=300.0, help="seconds until workers must be READY (default: %(default)s)")
    add("--photo", default="cat.jpg", help="the photo to name in the printed commands")
    return parser


if __name__ == "__main__":
    sys.exit(main())
