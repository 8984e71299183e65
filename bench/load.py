"""wrk, the load generator: written in C, so that it leaves the cores to what it measures."""

import json
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SCRIPT = Path(__file__).with_name("post.lua")
PATIENCE = 120.0  # seconds; a server that gives no answer in so long does not answer
Body = Literal["raw", "form"]


class WrkError(Exception):
    """wrk is missing, a server gave another answer than 200, or none at all."""


@dataclass(frozen=True)
class Outcome:
    answers: int
    rate: float  # answers a second
    p50: float  # seconds
    p99: float
    share: float  # of one core, taken by wrk itself


def find_wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise WrkError("wrk: not found, expected it on the PATH (Debian: apt-get install wrk)")
    return found


def ask(url: str, clients: int, seconds: float, body: Body, images: Sequence[Path]) -> Outcome:
    """Each client sends its next image as soon as it has an answer.

    On a busy machine a short run can end before the first answer: it is then run again, twice as long. Raises WrkError
    if any answer is not 200, or if there is none within PATIENCE.
    """
    while True:
        before = _processor_seconds()
        result = _wrk(url, clients, seconds, body, images)
        if result["refused"] or result["failed"]:
            raise WrkError(f"{url}: {result['refused']} answers not 200 and {result['failed']} failures, expected none")
        if result["requests"]:
            share = (_processor_seconds() - before) / result["seconds"]
            rate = result["requests"] / result["seconds"]
            return Outcome(result["requests"], rate, result["p50"], result["p99"], share)
        if seconds >= PATIENCE:
            raise WrkError(f"{url}: no answer within {seconds:g} s")
        seconds = min(2 * seconds, PATIENCE)


def _wrk(url: str, clients: int, seconds: float, body: Body, images: Sequence[Path]) -> dict[str, Any]:
    command = [find_wrk(), "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "60s", "-s", str(SCRIPT), url]
    done = subprocess.run([*command, "--", body, *map(str, images)], capture_output=True, text=True)
    if done.returncode != 0:
        raise WrkError(f"{url}: {done.stderr.strip() or done.stdout.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
