"""The server that a script talks to: from its flags, else the environment, else config.properties and TS_ variables."""

import argparse
import os
from pathlib import Path

from scripts.paths import CONFIG
from scripts.server.client import KEY_FILE, Client
from scripts.server.frontend import HOME, read_front_end

INFERENCE, MANAGEMENT, KEYS = "TORCHSERVE_INFERENCE", "TORCHSERVE_MANAGEMENT", "TORCHSERVE_KEYS"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server", "by default the one that config.properties describes")
    add = group.add_argument
    add("--inference", metavar="URL", default=os.environ.get(INFERENCE), help=f"its inference API, or {INFERENCE}")
    add("--management", metavar="URL", default=os.environ.get(MANAGEMENT), help=f"its management API, or {MANAGEMENT}")
    keys = os.environ.get(KEYS, str(HOME / KEY_FILE))
    add(
        "--keys",
        metavar="FILE",
        type=Path,
        default=keys,
        help=f"its token file, or {KEYS} (default: {HOME / KEY_FILE})",
    )


def make_client(options: argparse.Namespace) -> Client:
    """Raises FrontEndError if config.properties is needed and unreadable."""
    inference, management = options.inference, options.management
    if inference is None or management is None:
        front = read_front_end(CONFIG, os.environ)
        inference, management = inference or front.inference.url, management or front.management.url
    return Client(inference.rstrip("/"), management.rstrip("/"), options.keys)
