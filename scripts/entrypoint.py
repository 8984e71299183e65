#!/usr/bin/env python3
"""The container's main process. It starts TorchServe with every archive of the model store, and haproxy in front of it.
It watches both, and on SIGTERM stops them without losing a request. Every line of its console is JSON.

Exit codes: 0 it was asked to stop, 1 settings or archives are wrong, the memory does not suffice or haproxy ended, 124
nobody was answered any more, else that of TorchServe.
"""

import logging
import os
import shutil
import sys

from handler.errors import LoadError
from handler.log import log_as_json
from scripts.archive.manifest import Archive, scan_store
from scripts.paths import CONFIG, LOGS, MODEL_STORE, STATE
from scripts.server.decisions import Decisions
from scripts.server.frontend import HOME, FrontEndError, read_front_end
from scripts.server.loading import State
from scripts.server.service import HAPROXY, Service, fail
from scripts.server.supervisor import Supervisor

logger = logging.getLogger("entrypoint")


def main() -> int:
    for name in (logger.name, HAPROXY):
        log_as_json(name)
    supervisor, decisions = Supervisor(), Decisions(STATE)
    try:
        front = read_front_end(CONFIG, os.environ)
        archives = decisions.in_order(_good_archives(front.strict_store))
        shutil.rmtree(HOME, ignore_errors=True)  # a restarted container still has the files of its last run
        HOME.mkdir(mode=0o700)
    except (LoadError, FrontEndError, OSError) as error:
        return fail(str(error))
    fatal = {State.REFUSED} if front.strict_store else set()
    return Service(front, archives, MODEL_STORE, LOGS, HOME, decisions, console=True, fatal=fatal).run(supervisor)


def _good_archives(strict: bool) -> list[Archive]:
    """Those of the model store. Raises LoadError if one is broken, where that is asked for or none is good."""
    archives, problems = scan_store(MODEL_STORE)
    if problems and (strict or not archives):
        raise problems[0]
    for problem in problems:
        logger.error(f"{problem}; the others serve (STORE_CHECK=strict would stop here)")
    return archives


if __name__ == "__main__":
    sys.exit(main())
