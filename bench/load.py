"""wrk, the load generator: written in C, so that it leaves the cores to what it measures."""

import json
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPT = Path(__file__).with_name("post.lua")
Body = Literal["raw", "form"]


class WrkError(Exception):
    """wrk is missing, or a server refused what it must answer."""


@dataclass(frozen=True)
class Outcome:
    rate: float  # answers a second
    p50: float  # seconds
    p99: float
    share: float  # of one core, that wrk itself took


def find_wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise WrkError("wrk: not found, expected it on the PATH (Debian: apt-get install wrk)")
    return found


def ask(url: str, clients: int, seconds: float, body: Body, images: Sequence[Path]) -> Outcome:
    """Each client asks again as soon as it is answered. Raises WrkError where any answer is not 200."""
    command = [find_wrk(), "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "60s", "-s", str(SCRIPT), url]
    before = _cpu()
    done = subprocess.run([*command, "--", body, *map(str, images)], capture_output=True, text=True)
    if done.returncode != 0:
        raise WrkError(f"{url}: {done.stderr.strip() or done.stdout.strip()}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result["refused"] or result["failed"] or not result["requests"]:
        raise WrkError(f"{url}: {result}")
    return Outcome(
        result["requests"] / result["seconds"], result["p50"], result["p99"], (_cpu() - before) / result["seconds"]
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
