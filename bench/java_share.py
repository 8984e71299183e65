#!/usr/bin/env python3
"""Milliseconds of a core that an answer takes of TorchServe's Java, by what they go into, and of the workers.

Round after round of eight clients' load: Java compiles itself at first. Try its flags by JAVA_TOOL_OPTIONS. Needs wrk.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.load import WrkError, ask, find_wrk
from handler.errors import LoadError
from scripts.archive.manifest import read_archive
from scripts.server.java import JavaNotFoundError
from scripts.server.torchserve import Ports, ServerError, TorchServe

CLIENTS = 8
KINDS = {"C1 Compiler": "compiler", "C2 Compiler": "compiler", "epollEventLoop": "HTTP", "W-": "workers' side"}
COLUMNS = ("compiler", "HTTP", "workers' side", "rest")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        find_wrk()
        _account(options)
    except (WrkError, LoadError, ServerError, JavaNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _account(options: argparse.Namespace) -> None:
    archive = read_archive(options.archive)
    print(f"{'answers/s':>10} " + " ".join(f"{name:>14}" for name in (*COLUMNS, "Python workers")))
    with (
        tempfile.TemporaryDirectory(prefix="java-") as logs,
        TorchServe([archive], archive.path.parent, Ports.from_first(options.port), Path(logs)) as server,
    ):
        server.wait_ready()
        url = f"{server.inference}/predictions/{archive.name}"
        java = psutil.Process(server.process_id)
        for _ in range(options.rounds):
            before = _used(java)
            load = ask(url, CLIENTS, options.seconds, "raw", [options.photo])
            after = _used(java)
            answers = load.rate * options.seconds
            cells = (1000 * (after[name] - before[name]) / answers for name in (*COLUMNS, "python"))
            print(f"{load.rate:10.1f} " + " ".join(f"{cell:14.2f}" for cell in cells), flush=True)


def _used(java: psutil.Process) -> dict[str, float]:
    """Seconds so far."""
    used: dict[str, float] = defaultdict(float)
    for thread in java.threads():
        name = Path(f"/proc/{java.pid}/task/{thread.id}/comm").read_text(encoding="utf-8")
        kind = next((kind for start, kind in KINDS.items() if name.startswith(start)), "rest")
        used[kind] += thread.user_time + thread.system_time
    for worker in java.children(recursive=True):
        used["python"] += sum(worker.cpu_times()[:2])
    return used


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photo", type=Path)
    add("--archive", type=Path, required=True)
    add("--rounds", type=int, default=10, help="default: %(default)s")
    add("--seconds", type=int, default=10, help="of a round (default: %(default)s)")
    add("--port", type=int, default=22000, help="the first of five (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
