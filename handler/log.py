"""Log lines as JSON, one event a line, whatever the text holds: a client's can neither begin a line nor end one."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

FIELDS = "fields"  # what `logger.info(…, extra={FIELDS: {…}})` adds to its line


class JsonFormatter(logging.Formatter):
    """`constant` stands in every line; the message of an exception's traceback stands under `trace`."""

    def __init__(self, constant: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._constant = dict(constant or {})

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= self._constant | getattr(record, FIELDS, {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json(name: str, constant: Mapping[str, Any] | None = None) -> None:
    """Makes a logger and all below it write to stdout, from INFO on, and to nowhere else."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(constant))
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
