#!/usr/bin/env python3
"""Measures two images of this project in turn, with the same archive, and prints the ratios of their medians.

Both containers stay up, so that each round meets them warm; while one is measured, the other is paused. Which one comes
first alternates. Needs wrk and a container engine (DOCKER).
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from PIL import Image

from bench import failures
from bench.load import Outcome, ask, find_wrk
from bench.targets import Container
from scripts.arguments import whole
from scripts.paths import DEMO
from scripts.server.progress import show_progress

CLIENTS = (8, 1)
FIGURES = (("rate", "answers a second", 1), ("p50", "ms, p50", 1000), ("p99", "ms, p99", 1000))  # of an Outcome


@dataclass
class Side:
    """One image, and what was measured of it."""

    container: Container
    url: str = ""
    outcomes: dict[int, list[Outcome]] = field(default_factory=lambda: {clients: [] for clients in CLIENTS})

    def median(self, clients: int, figure: str) -> float:
        return float(median(getattr(outcome, figure) for outcome in self.outcomes[clients]))


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_run, _parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    find_wrk()
    with tempfile.TemporaryDirectory(prefix="versions-") as directory, ExitStack() as stack:
        photo = Path(directory) / "photo.jpg"
        with Image.open(options.photo) as image:
            image.convert("RGB").resize((500, 375), Image.Resampling.BICUBIC).save(photo, quality=90)
        sides = [Side(Container(name, options.archive.resolve().parent, options.mib)) for name in options.images]
        for name, side in zip(options.images, sides, strict=True):
            show_progress(f"starting {name}")
            stack.enter_context(side.container)
            side.url = f"{side.container.url}/predictions/{options.archive.stem}"
            ask(side.url, max(CLIENTS), options.warm_up, "raw", [photo])
            side.container.pause()
        for number in range(options.rounds):
            show_progress(f"round {number + 1} of {options.rounds}")
            for side in sides if number % 2 == 0 else sides[::-1]:
                side.container.unpause()
                for clients in CLIENTS:
                    side.outcomes[clients].append(ask(side.url, clients, options.seconds, "raw", [photo]))
                side.container.pause()
    show_progress("")
    print(_table(options.images, sides))
    return 0


def _table(names: Sequence[str], sides: Sequence[Side]) -> str:
    lines = [f"| | {names[0]} | {names[1]} | ratio of medians |", "|---|---|---|---|"]
    for clients in CLIENTS:
        for figure, unit, factor in FIGURES:
            first, second = (side.median(clients, figure) * factor for side in sides)
            lines.append(f"| {clients} clients: {unit} | {first:.1f} | {second:.1f} | {second / first:.3f} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("images", nargs=2, metavar="IMAGE", help="the one to compare with, and the one to compare")
    add("--archive", type=Path, default=DEMO, help="alone in its folder (default: %(default)s)")
    add("--photo", type=Path, required=True, help="chelsea.png of scikit-image")
    add("--rounds", type=whole(1), default=8, help="default: %(default)s")
    add("--seconds", type=whole(1), default=8, help="length of one measurement (default: %(default)s)")
    add("--warm-up", type=whole(1), default=45, help="seconds of load before the first round (default: %(default)s)")
    add("--mib", type=whole(1), default=4096, help="memory of each container (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
