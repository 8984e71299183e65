#!/usr/bin/env python3
"""Measures the processor time of an answer, in milliseconds of one core: of Java's threads by their kind, and of the
Python workers.

Eight clients send round after round, because Java compiles its own code in the first ones. Set flags for Java in
JAVA_TOOL_OPTIONS. Needs wrk.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import failures
from bench.load import ask, find_wrk
from bench.processes import java_process, processor_seconds
from scripts.archive.manifest import read_archive
from scripts.arguments import whole
from scripts.server.ports import Ports
from scripts.server.torchserve import TorchServe

CLIENTS = 8
# The kind of a thread of Java, by how its name begins.
KINDS = {"C1 Compiler": "compiler", "C2 Compiler": "compiler", "epollEventLoop": "HTTP", "W-": "workers' side"}
COLUMNS = ("compiler", "HTTP", "workers' side", "rest")


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> int:
    find_wrk()
    archive = read_archive(options.archive)
    print(f"{'answers/s':>10} " + " ".join(f"{name:>14}" for name in (*COLUMNS, "Python workers")))
    with (
        tempfile.TemporaryDirectory(prefix="java-") as logs,
        TorchServe([archive], archive.path.parent, Ports.from_first(options.port), Path(logs)) as server,
    ):
        server.wait_ready()
        url = f"{server.inference}/predictions/{archive.name}"
        java = java_process(server.process_id)
        for _ in range(options.rounds):
            before = processor_seconds(java, KINDS)
            load = ask(url, CLIENTS, options.seconds, "raw", [options.photo])
            after = processor_seconds(java, KINDS)
            cells = (1000 * (after[name] - before[name]) / load.answers for name in (*COLUMNS, "python"))
            print(f"{load.rate:10.1f} " + " ".join(f"{cell:14.2f}" for cell in cells), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photo", type=Path)
    add("--archive", type=Path, required=True)
    add("--rounds", type=whole(1), default=10, help="default: %(default)s")
    add("--seconds", type=whole(1), default=10, help="length of a round (default: %(default)s)")
    add("--port", type=whole(1), default=22000, help="the first of five in a row (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
