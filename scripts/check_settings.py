#!/usr/bin/env python3
"""Checks that config.properties, the environment and the archives of a model store are compatible. Prints how the
memory is divided, and a line for each clash.

Exit codes: 0 no clash, 1 a clash or an unreadable file, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import Archive, scan_store
from scripts.arguments import whole
from scripts.paths import CONFIG, MODEL_STORE
from scripts.server.budget import MIB, MemoryBudgetError, available_memory, plan
from scripts.server.clashes import read_clashes
from scripts.server.frontend import FrontEndError, read_front_end


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    clashes: list[str] = []
    archives: list[Archive] = []
    try:
        front = read_front_end(options.config, os.environ)
        archives, problems = scan_store(options.model_store)
        outlines, clashes = read_clashes(front, archives)
        clashes += map(str, problems)
        print(plan(options.memory or available_memory(), outlines, front.max_request_size))
    except (FrontEndError, LoadError, MemoryBudgetError) as error:
        clashes.append(str(error))
    for clash in clashes:
        print(f"clash: {clash}")
    if not clashes:
        print(f"no clash: {', '.join(map(str, archives)) or 'no archive'}")
    return 1 if clashes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, default=CONFIG, help="default: %(default)s")
    add("--model-store", metavar="DIR", type=Path, default=MODEL_STORE, help="default: %(default)s")
    megabytes = "of the container, by default what this process has (MiB)"
    add("--memory", metavar="MIB", type=lambda text: whole(1, 2**30)(text) * MIB, help=megabytes)
    return parser


if __name__ == "__main__":
    sys.exit(main())
