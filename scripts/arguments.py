"""Types for the numbers on a command line."""

import argparse
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A `type` for argparse: a whole number from `least`, and to `most` if that is given."""
    expected = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
        return int(text)

    return parse


def share(text: str) -> float:
    """A `type` for argparse: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number from 0 to 1")
    return value
