#!/usr/bin/env python3
"""Measures where a request's time goes: in the handler's stages, in TorchServe's layers, and on the way to the client.

One client sends to a server of its own. Each time is the mean of all requests, by /metrics and by the client's clock.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bench import failures
from handler.job import STAGES
from scripts.archive.manifest import read_archive
from scripts.arguments import whole
from scripts.paths import DEMO
from scripts.server.clients import Load, Question
from scripts.server.ports import Ports
from scripts.server.progress import show_progress
from scripts.server.session import direct_session
from scripts.server.torchserve import ServerError, TorchServe

WARM_UP = 30  # requests
BAR = 40  # characters of the whole


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    archive = read_archive(options.archive)
    ports = Ports.from_first(options.port)
    with tempfile.TemporaryDirectory(prefix="profile-") as logs:
        server = TorchServe([archive], archive.path.parent, ports, Path(logs))
        with server:
            server.wait_ready(progress=show_progress)
            url = f"{server.inference}/predictions/{archive.name}"
            found = {photo.name: profile(server, url, photo, options.requests) for photo in options.photo}
    show_progress("")
    print(json.dumps(found, indent=1) if options.json else "\n\n".join(map(table, found, found.values())))
    return 0


def profile(server: TorchServe, url: str, photo: Path, count: int) -> dict[str, float]:
    """Mean seconds of a request by stage, in order; their sum is what the client waited. Raises ServerError."""
    question = Question(photo.read_bytes())
    _ask(url, question, WARM_UP)
    before = _totals(server)
    waited = _ask(url, question, count)
    deadline = time.monotonic() + 120
    while (spent := _since(before, _totals(server)))["classifier_inference_seconds_count"] < count:  # /metrics lags
        if time.monotonic() > deadline:
            counted = spent["classifier_inference_seconds_count"]
            raise ServerError(f"/metrics: {counted:g} requests, expected {count}")
        time.sleep(0.1)
    stages: dict[str, float] = {stage: spent[f"classifier_{stage}_seconds_sum"] / count for stage in STAGES}
    stages["inference"] = spent["classifier_inference_seconds_sum"] / count
    java = spent["ts_inference_latency_microseconds"] / 1e6 / count
    queue = spent["ts_queue_latency_microseconds"] / 1e6 / count
    return {
        "client, HTTP and Netty": waited - java,
        "TorchServe's queue and batch delay": queue,
        "to the worker and back, parsing, log": java - queue - sum(stages.values()),
        **{name: stages[name] for name in ("decode", "preprocess", "inference", "postprocess")},
    }


def table(photo: str, stages: dict[str, float]) -> str:
    whole = sum(stages.values())
    rows = {**stages, "in all": whole}
    lines = [
        f"  {name:38} {1000 * seconds:8.2f} ms {seconds / whole:6.1%}  {'█' * round(BAR * max(seconds, 0) / whole)}"
        for name, seconds in rows.items()
    ]
    return "\n".join([photo, *lines])


def _ask(url: str, question: Question, count: int) -> float:
    """Mean seconds of an answer. Raises ServerError if one is not 200."""
    with Load(url, 1, lambda _: question, count) as load:
        while load.running():
            time.sleep(0.05)
    if load.statuses() != {200: count}:
        raise ServerError(f"{url}: answered {dict(load.statuses())}, expected {count} times 200")
    return sum(reply.seconds for reply in load.replies) / count


def _totals(server: TorchServe) -> dict[str, float]:
    totals: dict[str, float] = {}
    with direct_session() as session:
        text = session.get(f"{server.metrics}/metrics", timeout=30).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")  # which the parser appends to counters
            totals[name] = totals.get(name, 0) + sample.value
    return totals


def _since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photo", nargs="+", type=Path)
    add("--archive", type=Path, default=DEMO, help="default: %(default)s")
    add("--requests", type=whole(1), default=200, help="for each photo (default: %(default)s)")
    add("--port", type=whole(1), default=18280, help="the first of five in a row (default: %(default)s)")
    add("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
