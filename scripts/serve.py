#!/usr/bin/env python3
"""Serves an archive on this machine, in the foreground, as the container serves a model store: TorchServe with haproxy
before it, all on loopback. Ctrl-C stops every process that it started, and loses no request.

Exit codes: 0 it was asked to stop, 1 settings or the archive are wrong, the memory does not suffice, a program is
missing, the model does not load or haproxy ended, 124 nobody was answered any more, else that of TorchServe.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import Archive, read_archive
from scripts.paths import CONFIG, DEMO, LOGS, ROOT, STATE
from scripts.predict import URL as PREDICT_URL
from scripts.server.decisions import Decisions
from scripts.server.frontend import FrontEndError, read_front_end
from scripts.server.loading import State
from scripts.server.model_watch import ModelWatch
from scripts.server.ports import Ports
from scripts.server.progress import show_progress
from scripts.server.service import HAPROXY, Service, fail, logger
from scripts.server.supervisor import Supervisor
from scripts.server.torchserve import ServerError

FIRST_POLL = 0.25  # seconds; somebody waits
LONGEST = 75  # characters of the directory for sockets: the system's limit, less haproxy's own ending and the names


def main() -> int:
    options = _parser().parse_args()
    for name, level in ((logger.name, logging.INFO), (HAPROXY, logging.ERROR)):
        _log_as_text(name, level)
    supervisor = Supervisor()
    try:
        archive = read_archive(options.archive)
        front = read_front_end(CONFIG, {**os.environ, **_addresses(options)})
        options.logs.mkdir(parents=True, exist_ok=True)
    except (LoadError, FrontEndError, OSError) as error:
        return fail(str(error))
    try:
        temporary = tempfile.TemporaryDirectory(prefix="ts-", ignore_cleanup_errors=True)
    except OSError as error:
        return fail(f"TMPDIR: {error}")
    with temporary as home:
        if (problem := _unusable(home)) is not None:
            return fail(f"TMPDIR: {Path(home).parent} {problem}")
        service = Service(
            front,
            [archive],
            archive.path.parent,
            options.logs.resolve(),
            Path(home),
            Decisions(STATE),
            console=False,
            fatal=set(State) - {State.READY},
            first_poll=FIRST_POLL,
        )
        return service.run(supervisor, _Announcement(archive, front.inference.url, options).look)


def _unusable(home: str) -> str | None:
    """Why TorchServe and haproxy can't work in this directory, or None."""
    if len(home) > LONGEST:
        return f"has over {LONGEST - len('/ts-abcdefgh')} characters, too many for the path of a socket in it"
    if os.statvfs(home).f_flag & os.ST_NOEXEC:
        return "is mounted noexec, so Java can't load its library for sockets from it"
    return None


class _Announcement:
    """Shows how far the model is, and once what to do when it can answer."""

    def __init__(self, archive: Archive, url: str, options: argparse.Namespace) -> None:
        self._archive = archive
        self._url = f"{url}/predictions/{archive.name}"
        self._timeout = options.timeout
        self._photo = options.photo
        self._made = False

    def look(self, models: ModelWatch) -> None:
        """Raises ServerError when the model had its time."""
        if self._made:
            return
        if models.ready:
            self._made = True
            self._print()
        elif models.loading.seconds > self._timeout:
            raise ServerError(f"{self._archive}: not ready after {self._timeout:.0f} s")
        else:
            show_progress(f"loading {self._archive}  {models.loading.seconds:.0f} s")

    def _print(self) -> None:
        option = "" if self._url == PREDICT_URL else f" --url {self._url}"
        print("\nClassify a photo:")
        print(f"  {_shown(sys.executable)} {_shown(ROOT / 'scripts' / 'predict.py')}{option} {self._photo}")
        print(f"  curl -T {self._photo} {self._url}\n")
        print("Ctrl-C stops the server.", flush=True)


class _Console(logging.Handler):
    """Lines for a person: what happens on stdout, what is wrong on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        show_progress("")
        if record.levelno < logging.WARNING:
            print(record.getMessage(), flush=True)
        else:
            print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr, flush=True)


def _log_as_text(name: str, level: int) -> None:
    log = logging.getLogger(name)
    log.handlers = [_Console()]
    log.setLevel(level)
    log.propagate = False


def _addresses(options: argparse.Namespace) -> dict[str, str]:
    return {
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{options.port}",
        "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{options.management_port}",
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{options.metrics_port}",
        "TS_GRPC_INFERENCE_ADDRESS": "127.0.0.1",
        "TS_GRPC_INFERENCE_PORT": str(options.grpc_port),
        "TS_GRPC_MANAGEMENT_ADDRESS": "127.0.0.1",
        "TS_GRPC_MANAGEMENT_PORT": str(options.grpc_port + 1),
    }


def _shown(path: str | Path) -> str:
    """The path as it is typed in this directory."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
