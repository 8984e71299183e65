"""A progress line on a terminal."""

import sys


def show_progress(line: str) -> None:
    """Replaces the progress line; an empty text clears it. Prints nothing if stdout is not a terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
