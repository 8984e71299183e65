"""A server's log, as the tests read it."""

import json
from pathlib import Path
from typing import Any

from scripts.server.torchserve import TorchServe
from scripts.server.worker_log import LOG


def events(log: Path) -> list[dict[str, Any]]:
    """Each line of a log, all of which must be JSON."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def said(server: TorchServe) -> list[dict[str, Any]]:
    """What front end and workers said."""
    return events(server.logs / LOG)


def requests_of(server: TorchServe, model: str) -> list[dict[str, Any]]:
    """The lines of a model's requests."""
    return [event for event in said(server) if event["message"] == "request" and event["model"] == model]
