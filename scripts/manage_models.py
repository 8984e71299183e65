#!/usr/bin/env python3
"""Manages the versions of a model on a running server: list, register, promote, roll back, scale, unregister. Whatever
fails, the version that serves keeps serving.

Exit codes: 0 done, 1 refused, or failed and undone as far as the message says, 2 wrong usage, 3 the server can't be
reached or refused.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import scan_store
from scripts.archive.outline import check_archive
from scripts.arguments import whole
from scripts.paths import LOGS, MODEL_STORE, STATE
from scripts.server.client import ApiError, Client
from scripts.server.connection import add_server_options, make_client
from scripts.server.decisions import Decisions
from scripts.server.frontend import FrontEndError
from scripts.server.lifecycle import Lifecycle
from scripts.server.progress import show_progress
from scripts.server.readiness import ready_workers
from scripts.server.versions import LifecycleError


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        client = make_client(options)
        lifecycle = Lifecycle(client, options.logs, Decisions(options.state), _say, show_progress)
        if options.verb == "list":
            _list(client, options.model, options.json)
        elif options.verb == "register":
            _register(lifecycle, options)
        elif options.verb == "promote":
            lifecycle.promote(options.model, options.version, dry_run=options.dry_run)
        elif options.verb == "rollback":
            lifecycle.rollback(options.model, options.to, dry_run=options.dry_run)
        elif options.verb == "scale":
            lifecycle.scale(
                options.model, options.version, options.workers, timeout=options.timeout, dry_run=options.dry_run
            )
        else:
            lifecycle.unregister(options.model, options.version, force=options.force, dry_run=options.dry_run)
    except (LoadError, LifecycleError, FrontEndError) as error:
        return _fail(str(error), 1)
    except ApiError as error:
        return _fail(str(error), 3)
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    return 0


def _register(lifecycle: Lifecycle, options: argparse.Namespace) -> None:
    checked = check_archive(options.archive)
    golden = f"{len(checked.golden)} golden inputs"
    _say("archive", f"{checked.archive}: {len(checked.labels)} labels, {golden}, {checked.contents_sha256[:12]}")
    lifecycle.register(checked, promote=options.promote, timeout=options.timeout, dry_run=options.dry_run)


def _list(client: Client, model: str | None, as_json: bool) -> None:
    rows = []
    for name in [model] if model is not None else sorted(client.models()):
        serving = client.describe(name)["modelVersion"]
        for state in client.versions(name):
            rows.append(
                {
                    "model": name,
                    "version": state["modelVersion"],
                    "serves": state["modelVersion"] == serving,
                    "ready": ready_workers(state),
                    "workers": len(state["workers"]),
                    "waiting": state["jobQueueStatus"]["pendingRequests"],
                    "batch_size": state["batchSize"],
                    "archive": state["modelUrl"],
                }
            )
    broken = _broken_files() if model is None else {}
    if as_json:
        print(json.dumps([*rows, *({"archive": name, "broken": problem} for name, problem in broken.items())]))
        return
    heads = ("", "MODEL", "VERSION", "READY", "WAITING", "BATCH", "ARCHIVE")
    cells = [
        (
            "●" if row["serves"] else " ",
            *(str(row["model"]), str(row["version"])),
            f"{row['ready']}/{row['workers']}",
            *(str(row["waiting"]), str(row["batch_size"]), str(row["archive"])),
        )
        for row in rows
    ]
    widths = [max(len(row[column]) for row in (heads, *cells)) for column in range(len(heads))]
    for row in (heads, *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for problem in broken.values():
        print(f"broken: {problem}")


def _broken_files() -> dict[str, str]:
    """What is wrong with files of the model store that the server skips, where the store can be read from here."""
    try:
        return {str(problem).partition(": ")[0]: str(problem) for problem in scan_store(MODEL_STORE)[1]}
    except LoadError:
        return {}


def _say(step: str, what: str) -> None:
    show_progress("")
    print(f"{step:<10} {what}", flush=True)


def _fail(message: str, code: int) -> int:
    show_progress("")
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    add_server_options(common)
    common.add_argument(
        "--logs",
        metavar="DIR",
        type=Path,
        default=LOGS,
        help="directory of its logs, for a worker's error (default: %(default)s)",
    )
    common.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        default=STATE,
        help="directory in which the server keeps what was promoted and scaled (default: %(default)s)",
    )
    changes = argparse.ArgumentParser(add_help=False)
    changes.add_argument("--dry-run", action="store_true", help="check, and print what would be done")
    waits = argparse.ArgumentParser(add_help=False)
    waits.add_argument("--timeout", type=float, default=300.0, help="seconds for workers to load (default: 300)")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(verb: str, summary: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(verb, help=summary, description=summary, parents=[*parents, common])

    verb = add("list", "list models, versions and workers; ● marks the version that serves")
    verb.add_argument("model", nargs="?")
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = add(
        "register",
        "check an archive, load it beside the version that serves, compare its golden inputs",
        changes,
        waits,
    )
    verb.add_argument(
        "archive",
        type=Path,
        help="its path on this machine; the server looks for the same file name in its model store",
    )
    verb.add_argument("--promote", action="store_true", help="then let it serve")

    verb = add("promote", "let a version serve", changes)
    verb.add_argument("model")
    verb.add_argument("version")

    verb = add("rollback", "let the other version serve again", changes)
    verb.add_argument("model")
    verb.add_argument("--to", metavar="VERSION", help="required if there are several others")

    verb = add("scale", "set a version's number of workers", changes, waits)
    verb.add_argument("model")
    verb.add_argument("version")
    verb.add_argument("workers", type=whole(1, 1024))

    verb = add("unregister", "remove a version when its queue is empty", changes)
    verb.add_argument("model")
    verb.add_argument("version")
    verb.add_argument("--force", action="store_true", help="even the last version, after which nothing answers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
