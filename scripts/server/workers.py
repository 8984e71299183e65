"""How many workers a model gets that doesn't say so itself: an archive does not know its machine."""

import os
import subprocess

from handler.cores import available_cores
from handler.server_settings import DEFAULT_WORKERS


def most_workers() -> int:
    """What TS_DEFAULT_WORKERS_PER_MODEL says; else one a graphics card, else one a core: with one thread each, workers
    get in each other's way the least."""
    given = os.environ.get(DEFAULT_WORKERS, "")
    return int(given) if given.isdecimal() and int(given) else _graphics_cards() or available_cores()


def _graphics_cards() -> int:
    """As TorchServe counts them."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
