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
