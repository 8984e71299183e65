#!/usr/bin/env python3
"""Measures how long a killed worker is missed, and what a full queue costs, on a server of its own. Prints medians of
several rounds. The times are this machine's; the ratios are nearer to those of others."""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import failures
from scripts.archive.manifest import read_archive
from scripts.arguments import whole
from scripts.paths import DEMO
from scripts.server.clients import Load, Question
from scripts.server.ports import Ports
from scripts.server.torchserve import ServerError, TorchServe

CLIENTS = 8
STEADY = 5.0  # seconds
RECOVERY = 300.0  # seconds until a new worker must answer


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    archive = read_archive(options.archive)
    question = Question(options.photo.read_bytes(), 200, "tiger cat")
    ports = Ports.from_first(options.port)
    with tempfile.TemporaryDirectory(prefix="faults-") as logs:
        server = TorchServe([archive], archive.path.parent, ports, Path(logs))
        with server:
            server.wait_ready()
            kills = [_kill(server, archive.name, question) for _ in range(options.rounds)]
        os.environ["TS_JOB_QUEUE_SIZE"] = "8"
        with server:
            server.wait_ready()
            floods = [_flood(server, archive.name, question) for _ in range(options.rounds)]
    print(json.dumps({"rounds": options.rounds, "kill": _medians(kills), "full queue": _medians(floods)}, indent=1))
    return 0


def _kill(server: TorchServe, model: str, question: Question) -> dict[str, float]:
    """Kills the one worker with SIGKILL, under steady load."""
    with Load(f"{server.inference}/predictions/{model}", CLIENTS, lambda _: question) as load:
        time.sleep(STEADY)
        killed = time.monotonic()
        os.kill(int(server.client.describe(model)["workers"][0]["pid"]), signal.SIGKILL)
        while not _answered_since(load, killed + 1):
            if time.monotonic() > killed + RECOVERY:
                raise ServerError(f"no answer within {RECOVERY:g} s after the worker was killed")
            time.sleep(0.1)
        time.sleep(STEADY)
    ends = [reply.started + reply.seconds for reply in load.replies if reply.status == 200]
    return {
        "seconds without an answer": min(end for end in ends if end > killed + 1) - killed,
        "requests lost": sum(reply.status != 200 for reply in load.replies),
        "requests in all": len(load.replies),
    }


def _answered_since(load: Load, moment: float) -> bool:
    return any(reply.status == 200 and reply.started + reply.seconds > moment for reply in load.replies)


def _flood(server: TorchServe, model: str, question: Question) -> dict[str, float]:
    """8 clients, then 64, then 8 again, with a queue of 8."""
    url = f"{server.inference}/predictions/{model}"
    calm, flood, after = (_run(url, clients, question) for clients in (CLIENTS, 8 * CLIENTS, CLIENTS))
    refused = [reply.seconds for reply in flood.replies if reply.status == 503]
    served = [reply.seconds for reply in calm.replies if reply.status == 200]
    if not refused or not served:
        raise ServerError(f"{len(served)} answers and then {len(refused)} refusals, expected some of both")
    return {
        "share refused": len(refused) / len(flood.replies),
        "a refusal's time over an answer's in calm": statistics.median(refused) / statistics.median(served),
        "answers in the flood over those in calm": flood.statuses()[200] / calm.statuses()[200],
        "answers after it over those before": after.statuses()[200] / calm.statuses()[200],
    }


def _run(url: str, clients: int, question: Question) -> Load:
    with Load(url, clients, lambda _: question) as load:
        time.sleep(STEADY)
    return load


def _medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: {
            "median": round(statistics.median(values), 3),
            "least": round(min(values), 3),
            "most": round(max(values), 3),
        }
        for name, values in {name: [numbers[name] for numbers in rounds] for name in rounds[0]}.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--archive", type=Path, default=DEMO, help="the demo (default: %(default)s)")
    add("--photo", type=Path, required=True, help="chelsea.png of scikit-image")
    add("--rounds", type=whole(1), default=5, help="default: %(default)s")
    add("--port", type=whole(1), default=18080, help="the first of five in a row (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
