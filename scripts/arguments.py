"""Kinds of numbers on a command line."""

import argparse
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """A `type` for argparse: a whole number, no smaller than this."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from {least}")
        return int(text)

    return parse
