"""A measurement that can't go on ends with one line that says why, and exit code 1."""

import argparse
import subprocess
import sys
from collections.abc import Callable

import psutil

from bench.load import WrkError
from handler.errors import LoadError, one_line
from scripts.server.client import ApiError
from scripts.server.java import JavaNotFoundError
from scripts.server.progress import show_progress
from scripts.server.torchserve import ServerError

FAILURES = (
    *(LoadError, ServerError, ApiError, JavaNotFoundError, WrkError),
    *(OSError, psutil.Error, subprocess.CalledProcessError, MemoryError),
)


def run(measure: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """The exit code of `measure`, or 1 if it raises one of FAILURES."""
    try:
        return measure(options)
    except FAILURES as error:
        show_progress("")
        print(f"error: {one_line(error) or 'out of memory'}", file=sys.stderr)
        return 1
