#!/usr/bin/env python3
"""Checks a server and prints the result in one line.

live   Java answers the management API
ready  and every expected model has a READY worker, and /ping says Healthy; Docker's HEALTHCHECK asks this
deep   and every model gives its archive's golden inputs the scores that they had at build, over HTTP and in time; an
       archive without golden inputs (self_check: false) has nothing to compare

Exit codes: 0 yes, 1 no, 2 wrong usage.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import scan_store
from scripts.paths import MODEL_STORE
from scripts.server.client import TIMEOUT, ApiError, Client
from scripts.server.connection import add_server_options, make_client
from scripts.server.frontend import FrontEndError
from scripts.server.readiness import unreadiness


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    reason: str | None
    try:
        reason = QUESTIONS[options.question](make_client(options), options)
    except (FrontEndError, LoadError, ApiError) as error:
        reason = str(error)
    if options.json:
        seconds = round(time.monotonic() - started, 3)
        print(json.dumps({"question": options.question, "ok": reason is None, "reason": reason, "seconds": seconds}))
    else:
        print("healthy" if reason is None else f"unhealthy: {reason}")
    return 0 if reason is None else 1


def _live(client: Client, options: argparse.Namespace) -> str | None:
    client.models(options.timeout)
    return None


def _ready(client: Client, options: argparse.Namespace) -> str | None:
    return unreadiness(client, options.expect)


def _deep(client: Client, options: argparse.Namespace) -> str | None:
    if (reason := unreadiness(client, options.expect)) is not None:
        return reason
    # These import NumPy, which takes longer than the two checks above.
    from scripts.archive.outline import read_golden_inputs, read_outline
    from scripts.server.proof import golden_difference

    archives = {(archive.name, archive.version): archive for archive in scan_store(options.model_store)[0]}
    for model in options.expect or client.models():
        version = client.describe(model)["modelVersion"]
        archive = archives.get((model, version))
        if archive is None:
            return f"{model} {version}: not in {options.model_store}, expected its archive with the golden inputs"
        outline = read_outline(archive)
        golden, tolerance = read_golden_inputs(outline), outline.settings.golden_tolerance
        difference = golden_difference(client, model, version, outline.labels, golden, tolerance, options.timeout)
        if difference is not None:
            return f"{model} {version}: {difference}"
    return None


QUESTIONS: dict[str, Callable[[Client, argparse.Namespace], str | None]] = {
    "live": _live,
    "ready": _ready,
    "deep": _deep,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("question", nargs="?", choices=QUESTIONS, default="ready", help="default: %(default)s")
    add(
        "--expect",
        metavar="MODEL",
        action="append",
        default=[],
        help="repeat it for each model (default: all registered)",
    )
    seconds = "seconds for `live`, and for all golden inputs of a model (default: %(default)s)"
    add("--timeout", type=float, default=TIMEOUT, help=seconds)
    add("--model-store", type=Path, default=MODEL_STORE, help="for deep: the archives (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")
    add_server_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
