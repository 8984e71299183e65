#!/usr/bin/env python3
"""Measures the processor time of an answer in a worker, part by part, in microseconds of one core.

TorchServe's own protocol and Service run here as they do in its worker, on the bytes that Java sends for a batch that
came through haproxy. The output goes through a pipe to another process, as it does to Java.
"""

import argparse
import faulthandler
import json
import logging
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from bench import failures
from handler.adapter import MultiLabelHandler
from handler.adapter import logger as request_logger
from handler.classifier import Classifier
from handler.parser import Parser
from handler.responses import Responder
from handler.server_settings import DEFAULT_WORKERS
from scripts.archive.manifest import read_archive
from scripts.archive.unpacking import unpacked
from scripts.arguments import whole
from scripts.paths import DEMO, METRICS
from scripts.server.workers import most_workers

# As curl and image/haproxy.cfg send them.
HEADERS = {
    "host": "127.0.0.1:8080",
    "user-agent": "curl/7.88.1",
    "accept": "*/*",
    "content-type": "application/octet-stream",
    "x-request-start": "1700000000000",
}
END = struct.pack("!i", -1)
WARM_UPS = 30
LEFT = "other threads, and what is left"


class Clock:
    """Microseconds of a processor by part. What a part calls that is a part itself counts there alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def part(self, name: str, *, everywhere: bool = False) -> Iterator[None]:
        """everywhere: what other threads take meanwhile belongs to it."""
        outer, self._thread.inner = getattr(self._thread, "inner", 0.0), 0.0
        started, all_started = time.thread_time(), time.process_time()
        try:
            yield
        finally:
            mine = time.thread_time() - started
            taken = time.process_time() - all_started if everywhere else mine
            with self._lock:
                self.spent[name] += 1e6 * (taken - self._thread.inner)
            self._thread.inner = outer + mine

    def watch(self, owner: Any, function: str, name: str, *, everywhere: bool = False) -> None:
        """Counts each call of a function of a class, a module or an object."""
        plain: Callable[..., Any] = getattr(owner, function)

        def watched(*arguments: Any, **named: Any) -> Any:
            with self.part(name, everywhere=everywhere):
                return plain(*arguments, **named)

        setattr(owner, function, watched)


def batch_message(body: bytes, requests: int) -> bytes:
    """What TorchServe's front end sends for a batch (ts/protocol/otf_message_handler.py), its command included."""
    headers = b"".join(_text(name) + _text(value) for name, value in HEADERS.items())
    field = _text("body") + _text(HEADERS["content-type"]) + struct.pack("!i", len(body)) + body
    rows = (_text(f"00000000-0000-0000-0000-{index:012}") + headers + END + field + END for index in range(requests))
    return b"I" + b"".join(rows) + END


def _text(value: str) -> bytes:
    return struct.pack("!i", len(value)) + value.encode()


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    archive = read_archive(options.archive)
    os.environ[DEFAULT_WORKERS] = str(most_workers())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as reader:
        assert reader.stdin is not None
        shown, sys.stdout = sys.stdout, reader.stdin
        try:
            with unpacked(archive.path) as directory:
                spent = _parts(directory, archive.name, options)
        finally:
            sys.stdout = shown
    answer = sum(spent.values())
    rows = [f"{name:48} {taken:8.0f} µs {taken / answer:6.1%}" for name, taken in [*spent.items(), ("in all", answer)]]
    print(json.dumps(spent) if options.json else "\n".join(rows))
    return 0


def _parts(directory: Path, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Microseconds of an answer by part: medians of the rounds."""
    # Its modules write to stdout as it is when they are imported.
    from ts.protocol.otf_message_handler import retrieve_msg

    service = _service(directory, name, sys.stdout)
    clock = Clock()
    _watch(clock)
    message = batch_message(options.photo.read_bytes(), options.batch)
    here, there = socket.socketpair(socket.AF_UNIX)
    service.set_cl_socket(there)
    rounds: dict[str, list[float]] = defaultdict(list)
    for number in range(WARM_UPS + options.rounds):
        clock.spent.clear()
        sender = threading.Thread(target=here.sendall, args=(message,))
        sender.start()
        with clock.part("TorchServe: read the batch"):
            _, batch = retrieve_msg(there)
        sender.join()
        read, started = clock.spent["TorchServe: read the batch"], time.process_time()
        with clock.part("the rest of the main thread"):
            service.predict(batch)
        taken = 1e6 * (time.process_time() - started)
        clock.spent[LEFT] = taken - (sum(clock.spent.values()) - read)
        if number >= WARM_UPS:
            for part, microseconds in clock.spent.items():
                rounds[part].append(microseconds / options.batch)
    return {part: statistics.median(values) for part, values in rounds.items()}


def _service(directory: Path, name: str, output: TextIO) -> Any:
    """TorchServe's, with the handler, as its worker makes it."""
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.service import Service

    logging.basicConfig(stream=output, format="%(message)s", level=logging.INFO, force=True)
    cache = MetricsCacheYamlImpl(config_file_path=str(METRICS))
    cache.initialize_cache()
    cache.model_name = name
    manifest = json.loads((directory / "MAR-INF" / "MANIFEST.json").read_text())
    handler = MultiLabelHandler()
    service = Service(name, str(directory), manifest, handler.handle, None, 8, metrics_cache=cache)
    handler.initialize(service.context)
    return service


def _watch(clock: Clock) -> None:
    clock.watch(MultiLabelHandler, "preprocess", "adapter: requests of rows")
    clock.watch(Parser, "parse", "parser")
    clock.watch(faulthandler, "dump_traceback_later", "watchdog")
    clock.watch(faulthandler, "cancel_dump_traceback_later", "watchdog")
    clock.watch(Classifier, "decode", "decode")
    clock.watch(Classifier, "preprocess", "preprocess")
    clock.watch(Classifier, "score", "inference", everywhere=True)
    clock.watch(Responder, "answer", "answers as JSON")
    clock.watch(Classifier, "side_by_side", "threads for the photos")
    clock.watch(MultiLabelHandler, "_print", "metric lines")
    clock.watch(request_logger, "log", "log lines")
    clock.watch(MultiLabelHandler, "postprocess", "adapter: statuses and headers")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photo", type=Path)
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--batch", type=whole(1), default=4, help="requests in a batch (default: %(default)s)")
    add("--rounds", type=whole(1), default=200, help="batches (default: %(default)s)")
    add("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
