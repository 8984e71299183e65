#!/usr/bin/env python3
"""Measures what a server takes before it has answered much: a worker beside its weights, and Java. Prints a table.

scripts/server/budget.py divides the memory by such figures. Pages of files, which the kernel can drop, don't count.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench import failures
from bench.processes import WORKER
from scripts.archive.manifest import read_archive
from scripts.archive.outline import read_outline
from scripts.arguments import whole
from scripts.paths import CONFIG, DEMO
from scripts.server.budget import CONVERTED, JAVA, LIBRARIES, MIB, WEIGHTS, available_memory, plan
from scripts.server.frontend import read_front_end
from scripts.server.ports import Ports
from scripts.server.torchserve import TorchServe


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    print(f"{'archive':<24} {'weights':>8} {'worker':>8} {'counted':>8} {'Java':>8} {'counted':>8}   (MiB)")
    for path in options.archives or [DEMO]:
        archive = read_archive(path)
        outline = read_outline(archive)
        budget = plan(available_memory(), [outline], read_front_end(CONFIG, {}).max_request_size, most=1)
        ports = Ports.from_first(options.port)
        with (
            tempfile.TemporaryDirectory() as logs,
            TorchServe([archive], path.parent, ports, Path(logs), budget=budget) as server,
        ):
            server.wait_ready()
            java = psutil.Process(server.process_id)
            [worker] = [child for child in java.children() if WORKER in " ".join(child.cmdline())]
            figures = (
                outline.sizes.weights,
                _anonymous(worker),
                (CONVERTED if outline.converted else LIBRARIES) + WEIGHTS * outline.sizes.weights,
                _anonymous(java),
                JAVA + budget.heap + budget.direct,
            )
        print(f"{archive!s:<24} " + " ".join(f"{figure / MIB:8.0f}" for figure in figures))
    return 0


def _anonymous(process: psutil.Process) -> int:
    """Bytes of a process that are no pages of a file."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("archives", nargs="*", type=Path, metavar="ARCHIVE", help=f"of one worker each (default: {DEMO.name})")
    add("--port", type=whole(1, 65_000), default=9300, help="the first of five (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
