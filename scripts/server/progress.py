"""How far something is, for whoever watches a terminal."""

import sys


def show_progress(line: str) -> None:
    """A line that is written over on a terminal, and left out elsewhere; an empty one clears it."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
