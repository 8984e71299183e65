#!/usr/bin/env python3
"""Whether this container can answer, for Docker's HEALTHCHECK: exit code 0 and "healthy", or 1 and the reason."""

import os
import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.server.client import KEY_FILE, Client
from scripts.server.frontend import CONFIG, HOME, FrontEndError, read_front_end
from scripts.server.readiness import unreadiness


def main() -> int:
    try:
        front = read_front_end(CONFIG, os.environ)
        reason = unreadiness(Client(front.inference.url, front.management.url, HOME / KEY_FILE))
    except FrontEndError as error:
        reason = str(error)
    print("healthy" if reason is None else f"unhealthy: {reason}")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
