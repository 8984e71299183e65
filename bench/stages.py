#!/usr/bin/env python3
"""Where a request's time goes, stage by stage and in TorchServe's own layers: one client, on a server of its own.

Means of all requests, from what /metrics counts and from what the client waited. What no stage claims is shown as such.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from handler.job import STAGES
from scripts.archive.manifest import read_archive
from scripts.paths import DEMO
from scripts.server.clients import Load, Question
from scripts.server.progress import show_progress
from scripts.server.session import direct_session
from scripts.server.torchserve import Ports, TorchServe

WARM_UP = 30  # requests
BAR = 40  # characters of the whole


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
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
    """Seconds of one request by stage, in its order; their sum is what the client waited."""
    question = Question(photo.read_bytes())
    _ask(url, question, WARM_UP)
    before = _totals(server)
    waited = _ask(url, question, count)
    deadline = time.monotonic() + 10
    while (spent := _since(before, _totals(server)))["classifier_inference_seconds_count"] < count:  # it follows
        if time.monotonic() > deadline:
            raise TimeoutError(f"/metrics: {spent}, expected {count} requests")
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
    """Mean seconds of an answer."""
    with Load(url, 1, lambda _: question, count) as load:
        while load.running():
            time.sleep(0.05)
    assert load.statuses() == {200: count}, load.statuses()
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
    add("--requests", type=int, default=200, help="for each photo (default: %(default)s)")
    add("--port", type=int, default=18280, help="the first of five (default: %(default)s)")
    add("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
